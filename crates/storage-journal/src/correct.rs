//! Correction of a single flipped bit through a CRC-32.
//!
//! A CRC is linear: flipping a bit of the message flips a fixed set of bits of the checksum, which
//! depends only on how far the bit is from the end. So the difference between the stored and the
//! computed checksum names the bit, where exactly one was flipped. The polynomial detects every
//! flip of up to three bits in messages of this size (Koopman, "32-Bit Cyclic Redundancy Codes for
//! Internet Applications", 2002: distance 4 up to 91,607 bits), so a correction of one bit is not
//! taken for another message with one or two flips.

/// The CRC-32 polynomial of IEEE 802.3, reflected.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// Above this, two messages may differ in three bits only, and a correction might be wrong.
const MAX_CORRECTED_LEN: usize = 91_607 / 8;

/// Flips back the one bit of `message` that explains the checksum `stored`; `false`, with the
/// message unchanged, if no single bit does. A flip in the checksum itself explains it as well.
pub(crate) fn correct(message: &mut [u8], stored: u32) -> bool {
    let difference = crc32fast::hash(message) ^ stored;
    if difference.is_power_of_two() {
        return true;
    }
    if message.len() > MAX_CORRECTED_LEN {
        return false;
    }
    // The syndrome of the last bit of the last byte, then of each one before it.
    let mut syndrome = 1;
    for byte in message.iter_mut().rev() {
        for bit in (0..8).rev() {
            syndrome = step(syndrome);
            if syndrome == difference {
                *byte ^= 1 << bit;
                return true;
            }
        }
    }
    false
}

fn step(syndrome: u32) -> u32 {
    syndrome >> 1 ^ if syndrome & 1 == 1 { POLYNOMIAL } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_single_flip_is_corrected() {
        for len in [1, 7, 64, 700] {
            let message: Vec<u8> = (0..len)
                .map(|i| u8::try_from(i * 37 % 251).unwrap())
                .collect();
            let stored = crc32fast::hash(&message);
            for bit in 0..len * 8 {
                let mut flipped = message.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(correct(&mut flipped, stored), "bit {bit} of {len} bytes");
                assert_eq!(flipped, message, "bit {bit} of {len} bytes");
            }
            for bit in 0..32 {
                let mut whole = message.clone();
                assert!(correct(&mut whole, stored ^ 1 << bit), "checksum bit {bit}");
                assert_eq!(whole, message, "checksum bit {bit}");
            }
        }
    }

    #[test]
    fn two_flips_are_never_corrected_to_something_else() {
        let message: Vec<u8> = (0..90).collect();
        let stored = crc32fast::hash(&message);
        for first in 0..message.len() * 8 {
            for second in 0..first {
                let mut flipped = message.clone();
                flipped[first / 8] ^= 1 << (first % 8);
                flipped[second / 8] ^= 1 << (second % 8);
                assert!(!correct(&mut flipped, stored), "bits {first} and {second}");
            }
        }
    }
}
