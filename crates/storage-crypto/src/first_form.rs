//! The oldest form in which the first implementation sealed a secret: a `crypto_box` to oneself, a nonce of
//! 24 bytes before it. It binds nothing but the key, and a plain value does not tell itself from it: it is
//! only opened by trial.

use crypto_box::aead::Aead;
use crypto_box::{PublicKey, SalsaBox};
use zeroize::Zeroizing;

use crate::error::CryptoError;
use crate::keys::EncryptionKeys;

/// Opens a secret of that form.
///
/// # Errors
///
/// [`CryptoError::Unopenable`] of anything else, [`CryptoError::SecretKeyRequired`].
pub fn open_first_form(
    keys: &EncryptionKeys,
    value: &[u8],
) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let (nonce, sealed) = value
        .split_first_chunk::<24>()
        .ok_or(CryptoError::Unopenable)?;
    let public = PublicKey::from(keys.public_key());
    let opened = keys.with_secret_key(|secret| {
        SalsaBox::new(&public, secret).decrypt(&(*nonce).into(), sealed)
    })?;
    opened
        .map(Zeroizing::new)
        .map_err(|_opaque| CryptoError::Unopenable)
}

#[cfg(test)]
mod tests {
    use crypto_box::SecretKey;

    use super::*;

    #[test]
    fn what_was_sealed_to_oneself_opens_with_that_key_alone() -> Result<(), CryptoError> {
        let secret = SecretKey::from_bytes([5; 32]);
        let nonce = [9; 24];
        let sealed = SalsaBox::new(&secret.public_key(), &secret)
            .encrypt(&nonce.into(), b"old secret".as_slice());
        let mut value = nonce.to_vec();
        value.extend(sealed.map_err(|_opaque| CryptoError::Unopenable)?);
        let keys = EncryptionKeys::from_secret(&[5; 32])?;
        assert_eq!(*open_first_form(&keys, &value)?, b"old secret");
        let other = EncryptionKeys::from_secret(&[6; 32])?;
        assert_eq!(
            open_first_form(&other, &value),
            Err(CryptoError::Unopenable)
        );
        for len in 0..value.len() {
            let cut = open_first_form(&keys, &value[..len]);
            assert_eq!(cut, Err(CryptoError::Unopenable), "{len}");
        }
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open_first_form(&keys, &flipped).is_err(), "{bit}");
        }
        Ok(())
    }
}
