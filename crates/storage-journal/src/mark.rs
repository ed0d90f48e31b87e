//! Marks: "the index is durable through here, and holds this".

use crate::bytes::{Fields, put_sized};
use crate::digest::Digests;

/// What the index holds, durably, at the commit whose number the mark's frame has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Counts and digests of the trees.
    pub digests: Digests,
    /// A fingerprint of the index's files, if this is the last frame of a clean close.
    pub clean: Option<Vec<u8>>,
}

impl Mark {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        self.digests.write(&mut body);
        if let Some(fingerprint) = &self.clean {
            put_sized(&mut body, fingerprint);
        }
        body
    }

    pub(crate) fn decode(body: &[u8], clean: bool) -> Option<Self> {
        let mut fields = Fields(body);
        let digests = Digests::read(&mut fields)?;
        let clean = if clean {
            Some(fields.sized()?.to_vec())
        } else {
            None
        };
        fields.is_empty().then_some(Self { digests, clean })
    }
}
