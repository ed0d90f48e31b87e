//! Names of keys and stores, and what a key allows.

use std::fmt;

/// What the holder of keys may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Access {
    /// Everything: the secret key is there.
    Full,
    /// Storing, deleting and verifying, but no reading: the key of the tags is there.
    Writer,
    /// Storing under unused names, without proof of who stored: the public key is there.
    Public,
}

impl Access {
    /// Its name, as a key file spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Writer => "writer",
            Self::Public => "public",
        }
    }
}

/// Which key: the first eight bytes of a hash of the public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "eight bytes, for ever")]
pub struct KeyId(pub [u8; 8]);

/// Which store: sixteen random bytes that backups keep.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "sixteen bytes, for ever")]
pub struct StoreId(pub [u8; 16]);

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreId({self})")
    }
}
