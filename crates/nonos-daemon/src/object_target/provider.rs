//! Makes the client of an object store from the environment's settings.

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::multipart::MultipartStore;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};

use super::retry::Limits;
use super::{OpenError, Scheme};

/// A store that takes an object in parts which are sent one by one.
pub(super) trait Store: ObjectStore + MultipartStore {}

impl<S: ObjectStore + MultipartStore> Store for S {}

/// The client's own limit on a request, which it would apply to a whole download: `retry` limits the
/// time instead, by the bytes that a request moves.
const NO_TIMEOUT: &str = "365 days";

/// Sets what the environment says, then what the caller says, then the limits.
macro_rules! build {
    ($builder:expr, $key:ident, $settings:expr, $limits:expr) => {{
        let mut builder = $builder;
        for (name, value) in $settings {
            builder = builder.with_config(name.parse()?, *value);
        }
        let store = builder
            .with_config($key::Client(ClientConfigKey::Timeout), NO_TIMEOUT)
            .with_retry(retry($limits))
            .build()?;
        Ok(Arc::new(store))
    }};
}

/// The client for a bucket.
///
/// # Errors
///
/// [`OpenError::Settings`].
pub(super) fn connect(
    scheme: Scheme,
    bucket: &str,
    settings: &[(&str, &str)],
    limits: &Limits,
) -> Result<Arc<dyn Store>, OpenError> {
    // The HTTP client takes whatever the process has; one that is there already is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let built = || -> Result<Arc<dyn Store>, object_store::Error> {
        match scheme {
            Scheme::S3 => {
                let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
                build!(builder, AmazonS3ConfigKey, settings, limits)
            }
            Scheme::Google => {
                let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
                build!(builder, GoogleConfigKey, settings, limits)
            }
            Scheme::Azure => {
                let builder = MicrosoftAzureBuilder::from_env().with_container_name(bucket);
                build!(builder, AzureConfigKey, settings, limits)
            }
        }
    };
    built().map_err(|source| OpenError::Settings {
        scheme: scheme.name(),
        source: Box::new(source),
    })
}

/// Retries within one attempt of ours: those of credentials, and short failures.
fn retry(limits: &Limits) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: limits.pause,
            max_backoff: limits.max_pause,
            base: 2.0,
        },
        max_retries: 2,
        retry_timeout: limits.request,
    }
}
