//! Keys are where they were put and nowhere else.

fn copied<T: Clone>() {}

fn main() {
    copied::<storage_crypto::EncryptionKeys>();
}
