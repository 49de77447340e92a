use super::*;
use crate::disk::tests::{block, with_gpt};
use aws_sdk_ebs::operation::get_snapshot_block::{GetSnapshotBlockError, GetSnapshotBlockOutput};
use aws_sdk_ebs::operation::list_snapshot_blocks::ListSnapshotBlocksOutput;
use aws_sdk_ebs::primitives::ByteStream;
use aws_smithy_mocks::{Rule, RuleMode, mock, mock_client};

const SIZE: i32 = 524_288;

/// A disk of 1 GiB with these blocks.
fn listing(indexes: &[i32]) -> Vec<Rule> {
    let indexes = indexes.to_vec();
    // A mock knows its request only in its matcher: one rule for each place to begin.
    let starts: Vec<i32> = (0..2_048)
        .filter(|n| n % 64 == 0 || *n < 16 || indexes.contains(n))
        .collect();
    let rules = starts.into_iter().map(|start| {
        let indexes = indexes.clone();
        mock!(Client::list_snapshot_blocks)
            .match_requests(move |request| request.starting_block_index() == Some(start))
            .then_output(move || {
                let first = indexes.iter().find(|index| **index >= start);
                let first = first.map(|index| {
                    let block = Block::builder().block_index(*index);
                    block.block_token(format!("token-{index}")).build()
                });
                ListSnapshotBlocksOutput::builder()
                    .set_blocks(Some(first.into_iter().collect()))
                    .block_size(SIZE)
                    .volume_size(1)
                    .build()
            })
    });
    rules.collect()
}

fn content(index: i32, data: Vec<u8>, checksum: Option<&'static str>) -> Rule {
    mock!(Client::get_snapshot_block)
        .match_requests(move |request| {
            request.block_index() == Some(index)
                && request.block_token() == Some(format!("token-{index}").as_str())
        })
        .then_output(move || {
            let sum = base64::encode(Sha256::digest(&data));
            GetSnapshotBlockOutput::builder()
                .block_data(ByteStream::from(data.clone()))
                .checksum(checksum.map_or(sum, str::to_owned))
                .build()
        })
}

async fn tried(
    disk: Vec<(i32, Vec<u8>)>,
    checksum: Option<&'static str>,
) -> Result<Ended, ApiError> {
    let indexes: Vec<i32> = disk.iter().map(|(index, _)| *index).collect();
    let mut rules = listing(&indexes);
    rules.extend(
        disk.into_iter()
            .map(|(index, data)| content(index, data, checksum)),
    );
    let ebs = mock_client!(
        aws_sdk_ebs,
        RuleMode::MatchAny,
        &rules.iter().collect::<Vec<_>>()
    );
    read(&ebs, "snap-1").await
}

fn found(ended: Result<Ended, ApiError>) -> String {
    match ended.unwrap() {
        Ended::Proven(found, None) => found,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_lies_on_the_disk_is_told() {
    let ext = || block(&[(0x438, b"\x53\xef")]);
    assert_eq!(
        found(tried(vec![(0, ext()), (1_900, block(&[(9, b"x")]))], None).await),
        "2 blocks are sound; ext on the whole disk"
    );
    // Partitions of which one begins at a block, one was never written, and one lies across two.
    let across = 2 * 1_024 - 16;
    let mut before = block(&[]);
    before[usize::try_from(across % 1_024).unwrap() * 512..][..4].copy_from_slice(b"XFSB");
    let disk = vec![
        (0, with_gpt(&[3 * 1_024, 8 * 1_024, across])),
        (1, before),
        (3, ext()),
    ];
    let told = found(tried(disk, None).await);
    assert!(told.ends_with("GPT with ext, unrecognised, XFS"), "{told}");
    // A database may have its disk for itself.
    let raw = found(tried(vec![(0, block(&[(0, b"ORACLE")]))], None).await);
    assert!(
        raw.contains("no partition table or file system is recognised"),
        "{raw}"
    );
}

/// Several points of the sample come to it.
#[tokio::test]
async fn a_block_is_read_once() {
    let (listing, rule) = (listing(&[1_900]), content(1_900, block(&[(9, b"x")]), None));
    let rules: Vec<&Rule> = listing.iter().chain([&rule]).collect();
    let ebs = mock_client!(aws_sdk_ebs, RuleMode::MatchAny, &rules);
    read(&ebs, "snap-1").await.unwrap();
    assert_eq!(rule.num_calls(), 1);
}

#[tokio::test]
async fn an_empty_disk_and_a_wrong_checksum_are_failures() {
    for (disk, checksum, expected) in [
        (vec![], None, "holds no block at all"),
        (vec![(0, block(&[]))], None, "nothing but zeros"),
        (
            vec![(0, block(&[(0, b"XFSB")]))],
            Some("AAAA"),
            "block 0 of snap-1 is wrong, twice",
        ),
        (
            vec![(0, b"XFSB".to_vec())],
            None,
            "4 bytes instead of 524288",
        ),
    ] {
        let Ok(Ended::Failed(why)) = tried(disk, checksum).await else {
            panic!("{expected}");
        };
        assert!(why.contains(expected), "{why}");
    }
}

/// Taken for an empty disk, it would be a failure.
#[tokio::test]
async fn an_answer_that_leaves_out_blocks_or_sizes_is_not_known() {
    let whole = || {
        ListSnapshotBlocksOutput::builder()
            .set_blocks(Some(Vec::new()))
            .block_size(SIZE)
            .volume_size(1)
    };
    for lacking in [
        whole().set_blocks(None),
        whole().set_block_size(None),
        whole().set_volume_size(None),
        whole().blocks(Block::builder().block_token("token-0").build()),
        whole().blocks(Block::builder().block_index(0).build()),
    ] {
        let answer = lacking.build();
        let rule = mock!(Client::list_snapshot_blocks).then_output(move || answer.clone());
        let ebs = mock_client!(aws_sdk_ebs, RuleMode::MatchAny, [&rule]);
        let error = read(&ebs, "snap-1").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unknown, "{error}");
    }
}

#[tokio::test]
async fn what_could_not_be_read_is_not_known() {
    for (code, pause) in [
        ("ThrottlingException", 0),
        ("AccessDeniedException", 1),
        ("ValidationException", 1),
    ] {
        let mut rules = listing(&[0]);
        rules.push(mock!(Client::get_snapshot_block).then_error(move || {
            let error = aws_sdk_ebs::error::ErrorMetadata::builder().code(code);
            GetSnapshotBlockError::generic(error.message("says AWS").build())
        }));
        let ebs = mock_client!(
            aws_sdk_ebs,
            RuleMode::MatchAny,
            &rules.iter().collect::<Vec<_>>()
        );
        let error = read(&ebs, "snap-1").await.unwrap_err();
        assert_eq!(error.code, code);
        let Ended::Untried(why, after) = untried(&error) else {
            panic!("{code}");
        };
        assert!(
            why.contains(code) && after.as_hours() == pause,
            "{why} {after}"
        );
    }
}
