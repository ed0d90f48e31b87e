//! The text of a key file.

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use storage_core::trees::identity::NodeId;
use storage_crypto::key_file::{About, Strength, is_protected, protect, read, write};
use storage_crypto::{CryptoError, StoreId};

use crate::input::{Input, MENDED, output};
use crate::sealed_record::keys;

const LABEL: &[u8] = b"nsec1.check";
const PASSPHRASE: &str = "correct horse";

pub(crate) fn run(data: &[u8]) {
    let Some(input) = Input::of(data) else {
        return;
    };
    let Ok(text) = std::str::from_utf8(input.bytes) else {
        return;
    };
    let text = if input.is(MENDED) {
        mended(text)
    } else {
        text.to_owned()
    };
    let is_protected = is_protected(&text);
    match read(&text, None) {
        Ok((keys, about)) => {
            assert!(
                matches!(is_protected, Ok(false)),
                "keys without a passphrase"
            );
            let written = write(&keys, about).expect("keys have a form");
            assert_eq!(*written, text, "the one form that these keys have");
        }
        Err(CryptoError::PassphraseRequired) => {
            assert!(matches!(is_protected, Ok(true)), "a passphrase for nothing");
            // More work than that is what a passphrase costs, not what a decoder does.
            if text.contains("\nkdf = argon2id v=19 m=8 t=1 p=1 ") {
                let _any = read(&text, Some(PASSPHRASE));
            }
        }
        Err(_) => {}
    }
}

/// The text with the check that it should have.
fn mended(text: &str) -> String {
    let above = text
        .rfind("check = ")
        .and_then(|at| text.get(..at))
        .unwrap_or(text);
    let len = u64::try_from(LABEL.len()).unwrap_or(0).to_le_bytes();
    let hash = Blake2b::<U32>::new()
        .chain_update(len)
        .chain_update(LABEL)
        .chain_update(above);
    let hash = NodeId(hash.finalize().into()).to_hex();
    format!("{above}check = {hash}\n")
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let keys = keys();
    let writer = keys.to_writer().expect("full keys");
    let public = storage_crypto::EncryptionKeys::public_only(&keys.public_key());
    let about = About::new(1_770_000_000, Some(StoreId([7; 16])));
    let protected = protect(&keys, about, PASSPHRASE, Strength::Normal).expect("full keys");
    let cheap = protected.replace("m=65536 t=3 p=4", "m=8 t=1 p=1");
    let mut texts = vec![protected.to_string(), cheap];
    for (keys, about) in [
        (&keys, about),
        (&writer, About::new(-1, None)),
        (&public.expect("an honest key"), about),
    ] {
        texts.push(write(keys, about).expect("keys have a form").to_string());
    }
    let with_mode = |text: String| [0, MENDED].map(|mode| output(mode, &[], text.as_bytes()));
    texts.into_iter().flat_map(with_mode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_line_is_above_a_right_check() {
        let text = write(&keys(), About::new(5, None)).expect("keys have a form");
        let changed = text.replace("created = 5", "created = 6");
        assert!(read(&changed, None).is_err());
        let (_, about) = read(&mended(&changed), None).expect("a right check");
        assert_eq!(about, About::new(6, None));
    }
}
