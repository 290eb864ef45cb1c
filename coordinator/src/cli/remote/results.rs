//! Calls about what training stored beside its losses, and about models.

use foldwise_proto::ARTIFACT_PIECE;
use foldwise_proto::v1::{
    GetResultRequest, ListResultsRequest, ModelChunk, ModelHeader, model_chunk::Part,
};
use foldwise_shared::artifact::{Artifact, ResultRecord};

use super::Remote;
use crate::cli::error::CliError;
use crate::model_file::ModelFile;

impl Remote {
    /// The results of a study of one kind.
    pub fn results(&self, study: &str, kind: &str) -> Result<Vec<ResultRecord>, CliError> {
        let request = ListResultsRequest { study: study.to_owned(), kind: kind.to_owned() };
        let response = self.call(async |client| client.list_results(request).await)?;
        let record = |result: foldwise_proto::v1::Result| result.try_into().map_err(|error| self.garbled(error));
        response.results.into_iter().map(record).collect()
    }

    /// The file of a result.
    pub fn result(&self, study: &str, file: &Artifact) -> Result<Vec<u8>, CliError> {
        let request = GetResultRequest { study: study.to_owned(), digest: file.digest.clone() };
        let mut client = self.client.clone();
        self.runtime
            .block_on(async {
                let mut pieces = client.get_result(request).await?.into_inner();
                let mut content = Vec::new();
                while let Some(piece) = pieces.message().await? {
                    content.extend(piece.data);
                }
                Ok(content)
            })
            .map_err(|status| self.refused(&status))
    }

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
