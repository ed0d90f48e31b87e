//! What helper threads may take of the processor.

/// Lets this thread run when no other wants to: for one that holds no lock, as whoever waits for that would wait for all
/// others. Where the system refuses, or has no priorities of threads, it runs as it did.
pub(crate) fn give_way() {
    #[cfg(target_os = "linux")]
    let _refused = rustix::process::setpriority_process(None, 19);
}
