//! Models that people bring.

use foldwise_proto::v1::study_service_client::StudyServiceClient;
use foldwise_shared::model::ModelSettings;
use foldwise_shared::value::Params;

use super::*;
use crate::model_file::tests::{fit, model};

fn chunk(part: model_chunk::Part) -> v1::ModelChunk {
    v1::ModelChunk { part: Some(part) }
}

fn header(digest: String, bytes: usize) -> v1::ModelChunk {
    chunk(model_chunk::Part::Header(v1::ModelHeader { digest, bytes: bytes as u64 }))
}

async fn bring(served: &Served, chunks: Vec<v1::ModelChunk>) -> Result<(), Status> {
    let client = StudyServiceClient::connect(format!("http://{}", served.address)).await;
    client.expect("served").put_model(tokio_stream::iter(chunks)).await.map(drop)
}

#[tokio::test]
async fn a_model_is_stored_and_what_is_none_is_not() {
    let (served, _) = Served::start(Options::default()).await;
    let settings = ModelSettings::resolve(&fit(&[]), &Params::new()).expect("settings");
    let content = model(&settings, 0.5);
    let pieces = |content: &[u8]| -> Vec<v1::ModelChunk> {
        content.chunks(10_000).map(|piece| chunk(model_chunk::Part::Data(piece.to_vec()))).collect()
    };
    let whole = |content: &[u8]| {
        let mut chunks = vec![header(digest(content), content.len())];
        chunks.extend(pieces(content));
        chunks
    };
    bring(&served, whole(&content)).await.expect("a model");
    assert_eq!(served.files(), [digest(&content)]);

    let junk = b"version = 1".to_vec();
    let refused = bring(&served, whole(&junk)).await.expect_err("no model");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("no safetensors file"), "{refused}");
    let refused = bring(&served, pieces(&content)).await.expect_err("no header");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let mut other = whole(&content);
    other[0] = header(digest(b"another"), content.len());
    assert_eq!(bring(&served, other).await.expect_err("another").code(), Code::DataLoss);
    let mut twice = whole(&content);
    twice.insert(2, header(digest(&content), content.len()));
    assert_eq!(bring(&served, twice).await.expect_err("two headers").code(), Code::InvalidArgument);
    served.until_files(&[&digest(&content)]).await;
}
