//! Records as a person looks at them: decoded, with readable keys, and without what is secret.

use std::borrow::Cow;
use std::ops::Bound;

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use data_encoding::HEXLOWER;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use storage_core::trees::claims::StoredClaim;
use storage_core::trees::epochs::StoredEpochSummary;
use storage_core::trees::metrics::StoredMetrics;
use storage_core::trees::peers::StoredPeerInfo;
use storage_core::trees::{audit_log, config, identity, secrets};
use storage_core::{
    CoreError, EpochNumber, Key, KeyRange, Order, Read, TextKey, TimestampKey, TreeId,
    decode_record, open_frame,
};
use storage_schema::SchemaInfo;

use crate::origin::{self, Origin};
use crate::upkeep::{self, Upkeep};

/// Records that are read between two looks at who else wants the database.
const PAGE: usize = 512;

/// Shown a stored key and value; returns whether to go on.
type Visit<'a, E> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool, E>;

/// A record, decoded.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Record {
    /// The name of its tree.
    pub tree: &'static str,
    /// Its key: text, or a number: an epoch, Unix seconds in `metrics`, Unix milliseconds in `audit_log`.
    pub key: Value,
    /// Bytes of its key and its value as they are stored.
    pub bytes: usize,
    /// The record: its fields. Of `secrets` and `identity` only how it is kept and how long it is, but for the
    /// id of the node. Amounts are decimal text. What cannot be shown as JSON is `{"hex": …}`.
    pub value: Value,
    /// The key as it is stored.
    #[serde(skip)]
    pub stored_key: Vec<u8>,
    /// The value as it is stored.
    #[serde(skip)]
    pub stored: Vec<u8>,
}

/// Which records of a tree.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a range of keys and an order")]
pub struct Selection {
    /// Of these keys, as they are stored: see [`encode_key`].
    pub keys: KeyRange,
    /// Those whose stored key begins with these bytes.
    pub prefix: Vec<u8>,
    /// In this order.
    pub order: Order,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            keys: (Bound::Unbounded, Bound::Unbounded),
            prefix: Vec::new(),
            order: Order::Ascending,
        }
    }
}

/// Visits records as they are stored, until `visit` returns `false`. They are read a page at a time, each as of
/// one commit: no writer waits for `visit`.
///
/// # Errors
///
/// Errors of reading, and those of `visit`.
pub fn browse<E: From<CoreError>>(
    from: &dyn Read,
    tree: TreeId,
    which: &Selection,
    visit: Visit<'_, E>,
) -> Result<(), E> {
    let mut range = which.range();
    loop {
        let mut page = Vec::new();
        from.scan(tree, &range, which.order, &mut |key, frame| {
            page.push((key.to_vec(), frame.to_vec()));
            Ok(page.len() < PAGE)
        })?;
        let is_last = page.len() < PAGE;
        for (key, frame) in &page {
            if !visit(key, frame)? {
                return Ok(());
            }
        }
        let Some((last, _)) = page.pop().filter(|_| !is_last) else {
            return Ok(());
        };
        if which.order == Order::Descending {
            range.1 = Bound::Excluded(last);
        } else {
            range.0 = Bound::Excluded(last);
        }
    }
}

impl Selection {
    /// The keys that are in the range and have the prefix.
    fn range(&self) -> KeyRange {
        let (mut start, mut end) = self.keys.clone();
        if self.prefix.is_empty() {
            return (start, end);
        }
        let is_before = match &start {
            Bound::Unbounded => true,
            Bound::Included(key) | Bound::Excluded(key) => *key < self.prefix,
        };
        if is_before {
            start = Bound::Included(self.prefix.clone());
        }
        // Behind all that have it: where the last byte that can grow is one more.
        let mut behind = self.prefix.clone();
        while behind.last() == Some(&u8::MAX) {
            behind.pop();
        }
        if let Some(last) = behind.last_mut() {
            *last += 1;
            let is_after = match &end {
                Bound::Unbounded => true,
                Bound::Included(key) | Bound::Excluded(key) => *key >= behind,
            };
            if is_after {
                end = Bound::Excluded(behind);
            }
        }
        (start, end)
    }
}

/// A record, decoded; one that is damaged is an error.
///
/// # Errors
///
/// [`CoreError::Corrupt`].
pub fn record(tree: TreeId, key: &[u8], frame: &[u8]) -> Result<Record, CoreError> {
    let value = match tree {
        TreeId::Peers => typed::<StoredPeerInfo>(tree, key, frame)?,
        TreeId::Metrics => typed::<StoredMetrics>(tree, key, frame)?,
        TreeId::Epochs => epoch(key, frame)?,
        TreeId::Claims => claim(key, frame)?,
        TreeId::Config => setting(key, frame)?,
        TreeId::AuditLog => value_of(&audit_log::open(key, frame)?, frame),
        TreeId::Identity | TreeId::Secrets => kept(tree, key, frame)?,
        TreeId::Schema if key == b"__schema_version__" => typed::<SchemaInfo>(tree, key, frame)?,
        TreeId::Schema if key == origin::KEY => typed::<Origin>(tree, key, frame)?,
        TreeId::Schema if key == upkeep::KEY => typed::<Upkeep>(tree, key, frame)?,
        _ => json!({ "hex": HEXLOWER.encode(frame) }),
    };
    Ok(Record {
        tree: tree.name(),
        key: shown_key(tree, key),
        bytes: key.len() + frame.len(),
        value,
        stored_key: key.to_vec(),
        stored: frame.to_vec(),
    })
}

fn typed<T: DeserializeOwned + Serialize>(
    tree: TreeId,
    key: &[u8],
    frame: &[u8],
) -> Result<Value, CoreError> {
    let value: T = decode_record(tree, key, frame)?;
    Ok(value_of(&value, frame))
}

fn value_of(value: &impl Serialize, frame: &[u8]) -> Value {
    serde_json::to_value(value).unwrap_or_else(|_| json!({ "hex": HEXLOWER.encode(frame) }))
}

/// JSON has no numbers of 128 bits that every reader takes: amounts are text.
fn epoch(key: &[u8], frame: &[u8]) -> Result<Value, CoreError> {
    let summary: StoredEpochSummary = decode_record(TreeId::Epochs, key, frame)?;
    Ok(json!({
        "epoch": summary.epoch,
        "start_time": summary.start_time,
        "end_time": summary.end_time,
        "total_emission": summary.total_emission.to_string(),
        "our_reward": summary.our_reward.to_string(),
        "quality_score": summary.quality_score,
        "participated": summary.participated,
        "streak": summary.streak,
    }))
}

fn claim(key: &[u8], frame: &[u8]) -> Result<Value, CoreError> {
    let claim: StoredClaim = decode_record(TreeId::Claims, key, frame)?;
    Ok(json!({
        "epoch": claim.epoch,
        "amount": claim.amount.to_string(),
        "claimed_at": claim.claimed_at,
        "tx_hash": claim.tx_hash,
        "claimant": claim.claimant,
    }))
}

fn setting(key: &[u8], frame: &[u8]) -> Result<Value, CoreError> {
    match config::read(key, frame) {
        // Bytes, or a value of the first implementation, which only its reader knows the type of.
        Err(CoreError::WrongType { .. }) => {
            let frame = open_frame(TreeId::Config, key, frame)
                .map_err(|source| CoreError::corrupt(TreeId::Config, key, source))?;
            Ok(json!({ "hex": HEXLOWER.encode(&frame.body) }))
        }
        read => read,
    }
}

fn kept(tree: TreeId, key: &[u8], frame: &[u8]) -> Result<Value, CoreError> {
    let stored = secrets::open(tree, key, frame)?;
    let bytes = stored.bytes();
    if (tree, key) == (TreeId::Identity, identity::NODE_ID) {
        return Ok(json!({ "node_id": HEXLOWER.encode(bytes) }));
    }
    let is_sealed = matches!(stored, secrets::Stored::Sealed(_));
    // How long a sealed one is says only its size class.
    Ok(json!({ "sealed": is_sealed, "stored_bytes": bytes.len() }))
}

fn shown_key(tree: TreeId, key: &[u8]) -> Value {
    let shown = match tree {
        TreeId::Metrics | TreeId::AuditLog => TimestampKey::decode(key).map(|key| json!(key.0)),
        TreeId::Epochs | TreeId::Claims => EpochNumber::decode(key).map(|key| json!(key.0)),
        _ => TextKey::decode(key).map(|key| json!(key.0)),
    };
    shown.unwrap_or_else(|_| json!({ "hex": HEXLOWER.encode(key) }))
}

/// The stored key of a name, or of a number: an epoch, or a time in the unit of the tree.
///
/// # Errors
///
/// [`CoreError::Key`], with what is wrong with it.
pub fn encode_key(tree: TreeId, text: &str) -> Result<Vec<u8>, CoreError> {
    let malformed = storage_core::KeyError::Malformed { len: text.len() };
    let key = match tree {
        TreeId::Metrics | TreeId::AuditLog => match text.parse() {
            Ok(time) => TimestampKey::encode(&time).map(Cow::into_owned),
            Err(_) => Err(malformed),
        },
        TreeId::Epochs | TreeId::Claims => match text.parse() {
            Ok(number) => EpochNumber::encode(&EpochNumber(number)).map(Cow::into_owned),
            Err(_) => Err(malformed),
        },
        _ => TextKey::encode(text).map(Cow::into_owned),
    };
    key.map_err(|source| CoreError::Key { tree, source })
}

/// The BLAKE2b-256 of the content of trees: two databases with the same records have the same, whether they are
/// compressed or not. Over each record: the lengths of key and body as `u64` in little-endian order, the tree's
/// number, the version of the record, key, body.
///
/// # Errors
///
/// [`CoreError::Corrupt`], errors of reading.
pub fn content_hash(from: &dyn Read, trees: &[TreeId]) -> Result<[u8; 32], CoreError> {
    let mut hasher = Blake2b::<U32>::new();
    for tree in trees {
        browse(from, *tree, &Selection::default(), &mut |key, frame| {
            let frame = open_frame(*tree, key, frame)
                .map_err(|source| CoreError::corrupt(*tree, key, source))?;
            for len in [key.len(), frame.body.len()] {
                hasher.update(u64::try_from(len).unwrap_or(u64::MAX).to_le_bytes());
            }
            hasher.update([tree.number(), frame.record_version]);
            hasher.update(key);
            hasher.update(&frame.body);
            Ok::<_, CoreError>(true)
        })?;
    }
    Ok(hasher.finalize().into())
}
