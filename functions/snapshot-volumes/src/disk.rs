//! What lies on a disk: partition tables and file systems, known by their marks. Pure.

/// Bytes from its start on by which what lies on a disk or partition is known: as far as the mark
/// that lies deepest, that of Btrfs.
pub(crate) const HEAD: u32 = 0x1_0048;
/// The size of a sector.
const SECTOR: u64 = 512;
/// Most partitions that are looked at.
const PARTITIONS_MAX: usize = 16;

/// What lies on it, where it begins, and its mark.
const MARKS: &[(&str, usize, &[u8])] = &[
    ("XFS", 0, b"XFSB"),
    ("LUKS", 0, b"LUKS\xba\xbe"),
    ("NTFS", 3, b"NTFS    "),
    ("FAT", 0x36, b"FAT1"),
    ("FAT", 0x52, b"FAT32"),
    ("LVM", 0x218, b"LVM2 001"),
    ("ext", 0x438, b"\x53\xef"),
    ("swap", 0xff6, b"SWAPSPACE2"),
    ("Btrfs", 0x1_0040, b"_BHRfS_M"),
];

/// What is known by the head of a disk or partition; none: nothing of this.
pub(crate) fn known(head: &[u8]) -> Option<&'static str> {
    let has = |at: usize, mark: &[u8]| head.get(at..at + mark.len()) == Some(mark);
    let known = MARKS.iter().find(|(_, at, mark)| has(*at, mark));
    known.map(|(name, ..)| *name)
}

/// A partition table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// Where its partitions begin, in bytes.
    pub(crate) partitions: Vec<u64>,
}

/// The partition table by the first block of a disk, if there is one.
pub(crate) fn table(first: &[u8]) -> Option<Table> {
    // What a file system begins with may look like a table: FAT's and NTFS's boot sectors end as one.
    if first.get(510..512) != Some(b"\x55\xaa") || known(first).is_some() {
        return None;
    }
    if first.get(512..520) == Some(b"EFI PART") {
        return Some(Table {
            name: "GPT",
            partitions: gpt(first),
        });
    }
    let mut partitions = Vec::new();
    for n in 0..4 {
        let entry = first.get(446 + n * 16..462 + n * 16)?;
        let start = u64::from(u32_at(entry, 8)?);
        if entry[4] != 0 && start > 0 {
            partitions.push(start * SECTOR);
        }
    }
    (!partitions.is_empty()).then_some(Table {
        name: "MBR",
        partitions,
    })
}

fn gpt(first: &[u8]) -> Vec<u64> {
    let header = &first[512..];
    let numbers = (u64_at(header, 72), u32_at(header, 80), u32_at(header, 84));
    let (Some(entries), Some(count), Some(size)) = numbers else {
        return Vec::new();
    };
    let starts = (0..u64::from(count.min(128))).filter_map(|n| {
        let at = entries
            .checked_mul(SECTOR)?
            .checked_add(n * u64::from(size))?;
        let entry = first.get(usize::try_from(at).ok()?..)?;
        let used = entry.get(..16)?.iter().any(|byte| *byte != 0);
        let start = u64_at(entry, 32)?.checked_mul(SECTOR)?;
        (used && start > 0).then_some(start)
    });
    starts.take(PARTITIONS_MAX).collect()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A block with these bytes, and zeros elsewhere.
    pub(crate) fn block(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut block = vec![0; 524_288];
        for (at, bytes) in parts {
            block[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        block
    }

    /// A disk with a GPT whose partitions begin at these sectors.
    pub(crate) fn with_gpt(sectors: &[u64]) -> Vec<u8> {
        let mut block = block(&[(510, b"\x55\xaa"), (512, b"EFI PART")]);
        block[446 + 4] = 0xee;
        block[446 + 8] = 1;
        block[512 + 72] = 2;
        block[512 + 80] = 128;
        block[512 + 84] = 128;
        for (n, sector) in sectors.iter().enumerate() {
            let at = 1024 + n * 128;
            block[at] = 1;
            block[at + 32..at + 40].copy_from_slice(&sector.to_le_bytes());
        }
        block
    }

    #[test]
    fn each_file_system_is_known_by_its_mark_and_nothing_else_is() {
        for (name, at, mark) in MARKS {
            let disk = block(&[(*at, mark)]);
            assert_eq!(known(&disk), Some(*name));
            assert_eq!(known(&disk[..at + mark.len() - 1]), None, "{name} cut off");
            assert!(u32::try_from(at + mark.len()).unwrap() <= HEAD, "{name}");
        }
        assert_eq!(known(&block(&[])), None);
        assert_eq!(known(&block(&[(0, b"MYSQLRAW")])), None);
    }

    #[test]
    fn partitions_are_found_in_both_kinds_of_table() {
        let found = table(&with_gpt(&[2_048, 264_192])).unwrap();
        assert_eq!(found.name, "GPT");
        assert_eq!(found.partitions, [1_048_576, 135_266_304]);
        let mut mbr = block(&[(510, b"\x55\xaa")]);
        mbr[446 + 4] = 0x83;
        mbr[446 + 8..446 + 12].copy_from_slice(&2_048_u32.to_le_bytes());
        let found = table(&mbr).unwrap();
        assert_eq!((found.name, found.partitions), ("MBR", vec![1_048_576]));
        assert_eq!(table(&block(&[])), None);
        assert_eq!(table(&block(&[(510, b"\x55\xaa")])), None, "no partition");
        let ntfs = block(&[(3, b"NTFS    "), (510, b"\x55\xaa"), (454, b"\x01\x01")]);
        assert_eq!(table(&ntfs), None, "a boot sector is no table");
    }

    proptest! {
        /// Whatever lies there.
        #[test]
        fn no_content_is_too_much(mut content in prop::collection::vec(any::<u8>(), 0..4_096), gpt: bool) {
            if gpt && content.len() > 700 {
                content[510..512].copy_from_slice(b"\x55\xaa");
                content[512..520].copy_from_slice(b"EFI PART");
            }
            known(&content);
            if let Some(table) = table(&content) {
                prop_assert!(table.partitions.len() <= PARTITIONS_MAX);
            }
        }
    }
}
