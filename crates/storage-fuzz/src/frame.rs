//! The frame around each value of the index.

use storage_core::{Encoding, TreeId, open_frame, seal_frame};

use crate::input::{Input, MENDED, output, put_at};

/// Bytes before the body: tag, record version, checksum.
const SUM_AT: usize = 2;
const BODY_AT: usize = 6;

/// The place and the bytes of a frame, its checksum put right if that was asked for.
pub(crate) fn placed<'a>(input: &mut Input<'a>) -> Option<(TreeId, &'a [u8], Vec<u8>)> {
    let tree = input.tree()?;
    let key = input.short()?;
    let mut frame = input.bytes.to_vec();
    if input.is(MENDED) {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&[tree.number()]);
        hasher.update(&u32::try_from(key.len()).ok()?.to_le_bytes());
        hasher.update(key);
        hasher.update(frame.get(..SUM_AT)?);
        hasher.update(frame.get(BODY_AT..)?);
        put_at(&mut frame, SUM_AT, &hasher.finalize().to_le_bytes());
    }
    Some((tree, key, frame))
}

/// The input that is this frame.
pub(crate) fn input_of(mode: u8, tree: TreeId, key: &[u8], frame: &[u8]) -> Vec<u8> {
    let mut data = output(mode, &[key], frame);
    data.insert(1, tree.number());
    data
}

pub(crate) fn run(data: &[u8]) {
    let Some((tree, key, frame)) = Input::of(data).and_then(|mut input| placed(&mut input)) else {
        return;
    };
    let Ok(opened) = open_frame(tree, key, &frame) else {
        return;
    };
    for compress in [false, true] {
        let (encoding, version, body) = (opened.encoding, opened.record_version, &opened.body);
        // What is over the limit may have been put there as it is, and is not sealed again.
        let Ok(sealed) = seal_frame(tree, key, encoding, version, body, compress) else {
            assert!(body.len() > tree.max_body_size(), "a body that fits");
            return;
        };
        let again = open_frame(tree, key, &sealed).expect("what was sealed opens");
        assert_eq!(again.body, *body);
        assert_eq!((again.encoding, again.record_version), (encoding, version));
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let long = b"an address an address an address an address an address an address ".repeat(4);
    for (tree, key) in [(TreeId::Peers, &b"peer"[..]), (TreeId::Secrets, b"name")] {
        for body in [&b"a body"[..], &long] {
            for encoding in [Encoding::Raw, Encoding::Postcard, Encoding::Bincode] {
                let frame = seal_frame(tree, key, encoding, 2, body, true).expect("a short body");
                seeds.push(input_of(0, tree, key, &frame));
                seeds.push(input_of(MENDED, tree, key, &frame));
            }
        }
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_body_is_behind_a_right_checksum() {
        for (mode, opens) in [(0, false), (MENDED, true)] {
            let key = b"peer";
            let frame = seal_frame(TreeId::Peers, key, Encoding::Raw, 2, b"a body", false);
            let mut data = input_of(mode, TreeId::Peers, key, &frame.expect("a short body"));
            *data.last_mut().expect("a body") ^= 1;
            let mut input = Input::of(&data).expect("an input");
            let (tree, key, frame) = placed(&mut input).expect("a frame");
            assert_eq!(open_frame(tree, key, &frame).is_ok(), opens);
        }
    }
}
