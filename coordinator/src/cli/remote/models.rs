//! The call that brings a model.

use foldwise_proto::ARTIFACT_PIECE;
use foldwise_proto::v1::{ModelChunk, ModelHeader, model_chunk::Part};
use foldwise_shared::artifact::Artifact;

use super::Remote;
use crate::cli::error::CliError;
use crate::model_file::ModelFile;

impl Remote {
    /// Brings a model among the artifacts.
    pub fn put_model(&self, model: &ModelFile) -> Result<(), CliError> {
        let Artifact { digest, bytes } = model.artifact();
        let header = ModelChunk { part: Some(Part::Header(ModelHeader { digest, bytes })) };
        let pieces = model.bytes().chunks(ARTIFACT_PIECE);
        let pieces = pieces.map(|piece| ModelChunk { part: Some(Part::Data(piece.to_vec())) });
        let chunks: Vec<ModelChunk> = std::iter::once(header).chain(pieces).collect();
        self.call(async |client| client.put_model(tokio_stream::iter(chunks)).await).map(drop)
    }
}
