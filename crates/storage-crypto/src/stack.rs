//! Overwrites what work with secrets leaves behind on the stack.
//!
//! A value that is moved leaves its old bytes where they were, and the libraries keep copies in frames of
//! their own: of the secret key in `SecretKey`, of the key of the tags in `Blake2bMac`. Neither can be
//! reached to be wiped, but the frames can be used again.

use std::hint::black_box;

/// More than the frames of any function here have together, as measured in an optimized build: 12 KiB.
/// Those of a debug build have up to 64, but what is secret lies in the first ten.
const FRAMES_LEN: usize = 16 * 1024;

/// What `work` returns; the frames that it had are zeros then. Secrets leave it in boxes only.
pub(crate) fn wiped<T>(work: impl FnOnce() -> T) -> T {
    let done = in_frames_below(work);
    wipe_below();
    done
}

/// Not a part of its caller: what is in the caller's own frame would stay there.
#[inline(never)]
fn in_frames_below<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn wipe_below() {
    let mut frames = [0_u8; FRAMES_LEN];
    black_box(&mut frames);
}
