//! Work on many pieces, shared by some threads.

use std::num::NonZero;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

/// What `work` makes of each piece, in the order of the pieces. Each thread takes the next one when it is done with one; as
/// many work as can be started, this one at least. An error ends it once the pieces that are worked on are done.
pub(crate) fn share<P: Sync, R: Send, E: Send>(
    name: &str,
    pieces: &[P],
    threads: NonZero<usize>,
    work: impl Fn(&P) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let take = || -> Result<Vec<(usize, R)>, E> {
        let mut made = Vec::new();
        loop {
            let number = next.fetch_add(1, Relaxed);
            let Some(piece) = pieces.get(number) else {
                return Ok(made);
            };
            let result = work(piece).inspect_err(|_| next.store(pieces.len(), Relaxed))?;
            made.push((number, result));
        }
    };
    let mut made = thread::scope(|scope| {
        let others = (1..threads.get().min(pieces.len())).map_while(|_| {
            let thread = thread::Builder::new().name(name.into());
            thread.spawn_scoped(scope, take).ok()
        });
        let others: Vec<_> = others.collect();
        let mut made = take();
        for other in others {
            let theirs = other.join();
            let theirs = theirs.unwrap_or_else(|panicked| panic::resume_unwind(panicked));
            made = made.and_then(|made| Ok(made.into_iter().chain(theirs?).collect()));
        }
        made
    })?;
    made.sort_unstable_by_key(|(number, _)| *number);
    Ok(made.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_piece_is_worked_on_once_and_the_results_are_in_their_order() {
        for count in [0, 1, 2, 3, 100] {
            for threads in (1..5).filter_map(NonZero::new) {
                let pieces: Vec<u32> = (0..count).collect();
                let taken = AtomicUsize::new(0);
                let made = share("test", &pieces, threads, |piece| {
                    taken.fetch_add(1, Relaxed);
                    Ok::<_, ()>(piece * 2)
                });
                let expected = pieces.iter().map(|piece| piece * 2).collect();
                assert_eq!(made, Ok(expected), "{count} pieces, {threads} threads");
                assert_eq!(taken.into_inner(), pieces.len());
            }
        }
    }

    #[test]
    fn an_error_of_any_piece_is_the_result() {
        for threads in (1..5).filter_map(NonZero::new) {
            for bad in 0..20_u32 {
                let pieces: Vec<u32> = (0..20).collect();
                let done = |piece: &u32| if *piece == bad { Err(bad) } else { Ok(()) };
                assert_eq!(share("test", &pieces, threads, done), Err(bad));
            }
        }
    }
}
