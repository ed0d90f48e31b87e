//! What was found.

use data_encoding::HEXLOWER;
use storage_core::trees::audit_log::{ChainFault, ChainFinding};
use storage_core::{Key, TimestampKey, TreeId};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Severity {
    /// The record is not what it should be.
    Error,
    /// The record is as it was written, and what it says is odd.
    Warning,
}

impl Severity {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// What is wrong, by a stable name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Code {
    /// The value's frame is damaged, or of another place.
    Frame,
    /// The body is not a record of its tree.
    Decode,
    /// The key has another shape.
    Key,
    /// A peer's key is not its id.
    PeerId,
    /// A reputation is over 100.
    Reputation,
    /// A peer was first seen after it was last seen.
    SeenOrder,
    /// A number is not finite.
    NotFinite,
    /// A score is not between 0 and 1.
    ScoreRange,
    /// An epoch's key is not its number.
    EpochKey,
    /// An epoch ends before it starts.
    EpochOrder,
    /// A claim's key is not its epoch.
    ClaimKey,
    /// The node's id has another length.
    NodeId,
    /// Of the node's id and key one is missing.
    IdentityPair,
    /// The tree has no such key.
    UnknownKey,
    /// The schema record does not decode.
    SchemaRecord,
    /// An audit entry's time is not that of its key.
    AuditTime,
    /// Audit entries are missing, or not in their place.
    AuditGap,
    /// An audit entry was changed.
    AuditChanged,
    /// An audit entry has no place in the chain.
    AuditUnchained,
    /// The newest audit entries, or the head, are missing.
    AuditTruncated,
    /// A sealed record is malformed.
    SecretEnvelope,
    /// A sealed record is not one that the keys vouch for.
    SecretTag,
    /// A secret is not sealed, where every one must be.
    SecretPlaintext,
    /// The index lacks a record.
    IndexMissing,
    /// The index has a record that the journal has not.
    IndexExtra,
    /// Index and journal have different values.
    IndexChanged,
    /// The journal is damaged.
    Journal,
    /// The index is damaged.
    Index,
}

impl Code {
    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Frame => "FRAME",
            Self::Decode => "DECODE",
            Self::Key => "KEY",
            Self::PeerId => "PEER_ID",
            Self::Reputation => "REPUTATION",
            Self::SeenOrder => "SEEN_ORDER",
            Self::NotFinite => "NOT_FINITE",
            Self::ScoreRange => "SCORE_RANGE",
            Self::EpochKey => "EPOCH_KEY",
            Self::EpochOrder => "EPOCH_ORDER",
            Self::ClaimKey => "CLAIM_KEY",
            Self::NodeId => "NODE_ID",
            Self::IdentityPair => "IDENTITY_PAIR",
            Self::UnknownKey => "UNKNOWN_KEY",
            Self::SchemaRecord => "SCHEMA_RECORD",
            Self::AuditTime => "AUDIT_TIME",
            Self::AuditGap => "AUDIT_GAP",
            Self::AuditChanged => "AUDIT_CHANGED",
            Self::AuditUnchained => "AUDIT_UNCHAINED",
            Self::AuditTruncated => "AUDIT_TRUNCATED",
            Self::SecretEnvelope => "SECRET_ENVELOPE",
            Self::SecretTag => "SECRET_TAG",
            Self::SecretPlaintext => "SECRET_PLAINTEXT",
            Self::IndexMissing => "INDEX_MISSING",
            Self::IndexExtra => "INDEX_EXTRA",
            Self::IndexChanged => "INDEX_CHANGED",
            Self::Journal => "JOURNAL",
            Self::Index => "INDEX",
        }
    }

    /// Whether the record is damaged, or only odd.
    pub const fn severity(self) -> Severity {
        match self {
            Self::SeenOrder | Self::ScoreRange | Self::EpochOrder => Severity::Warning,
            _ => Severity::Error,
        }
    }

    /// The command that helps, where there is one.
    pub const fn fix(self) -> Option<&'static str> {
        match self {
            Self::IndexMissing | Self::IndexExtra | Self::IndexChanged | Self::Index => {
                Some("nonos compact")
            }
            Self::SecretPlaintext => Some("nonos secrets rm NAME, then put it again"),
            Self::SecretTag => Some("nonos secrets status"),
            Self::AuditTime
            | Self::AuditGap
            | Self::AuditChanged
            | Self::AuditUnchained
            | Self::AuditTruncated => Some("nonos audit verify"),
            _ => None,
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The tree; none if it is about a whole copy.
    pub tree: Option<TreeId>,
    /// The key in it, as hexadecimal digits; empty if it is about the whole tree.
    pub key_hex: String,
    /// What.
    pub code: Code,
    /// In words.
    pub detail: String,
}

impl Finding {
    pub(super) fn of_record(tree: TreeId, key: &[u8], code: Code, detail: String) -> Self {
        Self {
            tree: Some(tree),
            key_hex: HEXLOWER.encode(key),
            code,
            detail,
        }
    }

    pub(super) fn of_all(code: Code, detail: String) -> Self {
        Self {
            tree: None,
            key_hex: String::new(),
            code,
            detail,
        }
    }

    pub(super) fn of_chain(found: &ChainFinding) -> Self {
        let code = match found.fault {
            ChainFault::Gap { .. } => Code::AuditGap,
            ChainFault::Unchained => Code::AuditUnchained,
            ChainFault::Time => Code::AuditTime,
            ChainFault::Truncated { .. } | ChainFault::NoHead => Code::AuditTruncated,
            ChainFault::Unreadable => Code::Decode,
            _ => Code::AuditChanged,
        };
        let key = found
            .timestamp
            .as_ref()
            .and_then(|timestamp| TimestampKey::encode(timestamp).ok());
        Self {
            tree: Some(TreeId::AuditLog),
            key_hex: HEXLOWER.encode(&key.unwrap_or_default()),
            code,
            detail: found.fault.to_string(),
        }
    }
}

/// One tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeIntegrity {
    /// Which.
    pub tree: TreeId,
    /// Records that were read, and those that are missing; what is wrong with a whole copy is one of `schema`.
    pub entries: usize,
    /// Those of them that are not what they should be, or not there.
    pub corrupted: usize,
}

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Integrity {
    /// The trees that were read.
    pub trees: Vec<TreeIntegrity>,
    /// Findings that are errors, in all.
    pub errors: u64,
    /// Findings that are warnings, in all.
    pub warnings: u64,
    /// The findings, in the order of tree and key, at most as many as were asked for.
    pub findings: Vec<Finding>,
}

/// What threads find.
#[derive(Debug)]
pub(super) struct Collected {
    report: Integrity,
    max_listed: usize,
    /// Findings of whole copies that were added.
    of_all: Vec<(Code, String)>,
}

impl Collected {
    pub(super) fn new(trees: &[TreeId], max_listed: usize) -> Self {
        let of = |tree: &TreeId| TreeIntegrity {
            tree: *tree,
            entries: 0,
            corrupted: 0,
        };
        Self {
            report: Integrity {
                trees: trees.iter().map(of).collect(),
                errors: 0,
                warnings: 0,
                findings: Vec::new(),
            },
            max_listed,
            of_all: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, finding: Finding) {
        match finding.code.severity() {
            Severity::Error => self.report.errors += 1,
            Severity::Warning => self.report.warnings += 1,
        }
        if self.report.findings.len() < self.max_listed {
            self.report.findings.push(finding);
        }
    }

    /// A finding of no record that was read, which is counted here: something is missing, or a copy is damaged.
    pub(super) fn add_lack(&mut self, finding: Finding) {
        self.count(finding.tree.unwrap_or(TreeId::Schema), 1, 1);
        self.add(finding);
    }

    /// A finding of a whole copy, which many may meet.
    pub(super) fn add_of_all(&mut self, finding: Finding) {
        let met = (finding.code, finding.detail.clone());
        if !self.of_all.contains(&met) {
            self.of_all.push(met);
            self.add_lack(finding);
        }
    }

    /// A finding of a record that was read and, looked at by itself, found to be right.
    pub(super) fn add_of_sound(&mut self, finding: Finding) {
        self.count(finding.tree.unwrap_or(TreeId::Schema), 0, 1);
        self.add(finding);
    }

    pub(super) fn count(&mut self, tree: TreeId, entries: usize, corrupted: usize) {
        let mut trees = self.report.trees.iter_mut();
        if let Some(found) = trees.find(|found| found.tree == tree) {
            found.entries += entries;
            found.corrupted += corrupted;
        }
    }

    pub(super) fn into_report(mut self) -> Integrity {
        let place = |finding: &Finding| (finding.tree, finding.key_hex.clone(), finding.code);
        self.report.findings.sort_by_key(place);
        for tree in &mut self.report.trees {
            // A record may have been changed between two looks at it, or have two faults.
            tree.corrupted = tree.corrupted.min(tree.entries);
        }
        self.report
    }
}
