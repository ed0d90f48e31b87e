//! Without the feature `backup-age`: whoever asks for encryption is refused, so there are no keys.

use std::convert::Infallible;
use std::fs::File;
use std::path::Path;

use super::{CryptError, EncryptionError};

#[derive(Default)]
pub(super) struct Recipients(Option<Infallible>);

#[derive(Default)]
pub(super) struct Identities(Option<Infallible>);

impl Recipients {
    pub(super) fn parse(texts: &[String]) -> Result<Self, EncryptionError> {
        if texts.is_empty() {
            Ok(Self::default())
        } else {
            Err(EncryptionError::NotBuiltIn)
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn names(&self) -> String {
        self.0.map_or_else(String::new, |key| match key {})
    }

    pub(super) fn encrypt(&self, _: &Path, _: File, _: &Path) -> Result<(), CryptError> {
        self.0
            .map_or(Err(CryptError::NoIdentity), |key| match key {})
    }
}

impl Identities {
    pub(super) fn read(_path: &Path) -> Result<Self, EncryptionError> {
        Err(EncryptionError::NotBuiltIn)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn decrypt(&self, _: &Path, _: File, _: &Path) -> Result<(), CryptError> {
        self.0
            .map_or(Err(CryptError::NoIdentity), |key| match key {})
    }
}
