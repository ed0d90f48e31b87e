//! Keys are not compared byte by byte until the first that differs.

fn compared<T: PartialEq>() {}

fn main() {
    compared::<storage_crypto::EncryptionKeys>();
}
