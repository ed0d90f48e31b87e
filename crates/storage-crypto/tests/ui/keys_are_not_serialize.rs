//! Keys are written to a key file or not at all.

fn serialized<T: serde::Serialize>() {}

fn main() {
    serialized::<storage_crypto::EncryptionKeys>();
}
