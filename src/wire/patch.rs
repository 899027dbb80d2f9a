//! How two of us mend a damaged packet of i: the sums of its pieces, told by who received it, and the pieces that differ, told by who
//! sent it.

use crc::{CRC_8_SMBUS, Crc};

use super::packet::i_crc;

/// Bytes of a piece. The largest packet of i has 256.
const PIECE: usize = 16;

/// It finds every piece in which one byte is damaged, and all but one in 256 of the others.
const SUM: Crc<u8> = Crc::<u8>::new(&CRC_8_SMBUS);

/// One byte for each piece, the last of which may be shorter.
pub fn sums(data: &[u8]) -> Vec<u8> {
    data.chunks(PIECE).map(|piece| SUM.checksum(piece)).collect()
}

/// What makes of a packet with these sums the one with this data: the checksum of the data as i has it, and each piece that differs,
/// behind its number. `None`: of another length, or the whole packet would hardly be longer.
pub fn patch(data: &[u8], damaged: &[u8]) -> Option<Vec<u8>> {
    let good = sums(data);
    if good.len() != damaged.len() {
        return None;
    }
    let mut patch = i_crc(data).to_be_bytes().to_vec();
    for (number, piece) in data.chunks(PIECE).enumerate() {
        if good[number] != damaged[number] {
            patch.push(u8::try_from(number).ok()?);
            patch.extend_from_slice(piece);
        }
    }
    (patch.len() <= data.len() / 2).then_some(patch)
}

/// The damaged data with the pieces of the patch in it, if that is what the sender has.
pub fn mend(mut data: Vec<u8>, patch: &[u8]) -> Option<Vec<u8>> {
    let (crc, mut pieces) = patch.split_first_chunk()?;
    while let Some((&number, rest)) = pieces.split_first() {
        let place = data.chunks_mut(PIECE).nth(number.into())?;
        let (piece, rest) = rest.split_at_checked(place.len())?;
        place.copy_from_slice(piece);
        pieces = rest;
    }
    (i_crc(&data) == u32::from_be_bytes(*crc)).then_some(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::packet::I_DATA_MAX;

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n * 7) as u8).collect()
    }

    /// Damages these bytes; says how long the patch is.
    fn check(length: usize, damaged: &[usize]) -> Option<usize> {
        let good = text(length);
        let mut bad = good.clone();
        damaged.iter().for_each(|&at| bad[at] ^= 0x20);
        let patch = patch(&good, &sums(&bad))?;
        assert_eq!(mend(bad, &patch), Some(good), "{length} bytes, {damaged:?}");
        Some(patch.len())
    }

    #[test]
    fn what_differs_is_told_and_no_more() {
        assert_eq!(check(100, &[3]), Some(4 + 17));
        assert_eq!(check(100, &[3, 15, 16]), Some(4 + 17 * 2));
        assert_eq!(check(100, &[99]), Some(4 + 5), "the last piece is short");
        assert_eq!(check(I_DATA_MAX, &[0, I_DATA_MAX - 1]), Some(4 + 17 + 16));
        assert_eq!(check(100, &[]), Some(4), "only the checksum behind the data was damaged");
    }

    #[test]
    fn much_damage_and_another_length_are_not_mended() {
        assert_eq!(check(100, &[3, 20, 40]), None, "half of it and more");
        assert_eq!(patch(&text(100), &sums(&text(120))), None);
    }

    #[test]
    fn the_checksum_of_the_whole_decides() {
        let (good, mut bad) = (text(100), text(100));
        bad[3] ^= 1;
        let patch = patch(&good, &sums(&bad)).expect("little differs");
        bad[50] ^= 1;
        assert_eq!(mend(bad, &patch), None, "damage that the sums did not tell");
    }

    #[test]
    fn a_patch_that_cannot_be_mends_nothing() {
        let crc = i_crc(&text(40)).to_be_bytes();
        assert_eq!(mend(text(40), &crc), Some(text(40)));
        for pieces in [&[3][..], &[0, 1, 2], &[2, 0, 0, 0, 0, 0, 0, 0], &[255]] {
            assert_eq!(mend(text(40), &[&crc[..], pieces].concat()), None, "{pieces:?}");
        }
        assert_eq!(mend(text(40), &crc[..3]), None);
    }

    #[test]
    fn the_sums_are_known() {
        assert_eq!(sums(b"123456789"), [0xf4]);
        assert_eq!(sums(&[0; 17]), [0, 0]);
    }
}
