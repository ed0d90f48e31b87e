//! What sealing a secret of 64 bytes costs beside the bare calls of the library, turn about.

use std::time::{Duration, Instant};

use crypto_box::aead::OsRng;
use storage_crypto::{EncryptionKeys, Padding, SecretContext, StoreId, seal, unseal, verify};

use crate::{Error, failed};

const ROUNDS: usize = 2000;

pub(crate) fn run() -> Result<(), Error> {
    let keys = EncryptionKeys::generate();
    let secret = keys
        .expose_secret()
        .ok_or_else(|| failed("no secret key"))?;
    let bare_secret = crypto_box::SecretKey::from_bytes(*secret);
    let bare_public = bare_secret.public_key();
    let context = SecretContext {
        store: StoreId([7; 16]),
        tree: "secrets",
        key: b"wallet_key",
    };
    let data = [7; 64];
    let (mut seals, mut opens, mut verifies) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bare_seals, mut bare_opens) = (Vec::new(), Vec::new());
    for version in 1..=ROUNDS {
        let started = Instant::now();
        let boxed = bare_public.seal(&mut OsRng, &data).map_err(failed)?;
        bare_seals.push(started.elapsed());
        let started = Instant::now();
        let opened = bare_secret.unseal(&boxed).map_err(failed)?;
        bare_opens.push(started.elapsed());

        let version = u64::try_from(version).unwrap_or(u64::MAX);
        let started = Instant::now();
        let record = seal(&keys, &context, version, Padding::Block64, &data).map_err(failed)?;
        seals.push(started.elapsed());
        let started = Instant::now();
        let same = unseal(&keys, &context, &record).map_err(failed)?;
        opens.push(started.elapsed());
        let started = Instant::now();
        verify(&keys, &context, &record).map_err(failed)?;
        verifies.push(started.elapsed());
        if *same != opened {
            return Err(failed("another secret"));
        }
    }
    println!("a secret of 64 bytes, one thread, medians of {ROUNDS} rounds:");
    for (name, ours, bare) in [
        ("seal", &mut seals, &mut bare_seals),
        ("open", &mut opens, &mut bare_opens),
    ] {
        let (ours, bare) = (median(ours), median(bare));
        let ratio = ours.as_secs_f64() / bare.as_secs_f64();
        println!("  {name:<7} {ours:>10.1?}, bare {bare:>10.1?}: {ratio:.2} x");
    }
    println!("  verify  {:>10.1?}", median(&mut verifies));
    Ok(())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
