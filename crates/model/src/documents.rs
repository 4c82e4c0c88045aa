//! The documents that share the rows of a batch.

use burn::backend::Autodiff;
use burn::tensor::{Int, Tensor, TensorData, backend::Backend};

use crate::error::ModelError;

/// Where the documents of packed rows start.
///
/// Given beside `tokens`, it keeps documents apart as if each ran alone (method 4.4): attention looks at tokens of its own
/// document only, rotary positions count from the document's start, and SSM states and convolution windows begin anew.
#[derive(Clone, Debug)]
pub struct Documents<B: Backend> {
    /// For each token the index in its row at which its document starts, `[batch, seq]`
    starts: Tensor<B, 2, Int>,
}

impl<B: Backend> Documents<B> {
    /// Documents of the given lengths, in order, a list a row; padding counts as a document too.
    ///
    /// # Errors
    /// [`ModelError::Documents`] when a document is empty, or a row is not as long as the first.
    pub fn from_lengths(rows: &[Vec<usize>], device: &B::Device) -> Result<Self, ModelError> {
        let seq = rows.first().map_or(0, |row| row.iter().sum());
        let mut starts = Vec::with_capacity(rows.len() * seq);
        for (row, lengths) in rows.iter().enumerate() {
            let wrong = |problem: String| ModelError::Documents { row, problem };
            if let Some(document) = lengths.iter().position(|length| *length == 0) {
                return Err(wrong(format!("document {document} is empty")));
            }
            let total: usize = lengths.iter().sum();
            if total != seq {
                return Err(wrong(format!(
                    "its documents have {total} tokens, those of row 0 have {seq}"
                )));
            }
            let mut start = 0;
            for length in lengths {
                starts.extend(std::iter::repeat_n(start as i32, *length));
                start += length;
            }
        }
        let starts = TensorData::new(starts, [rows.len(), seq]);
        Ok(Self {
            starts: Tensor::from_data(starts, device),
        })
    }

    /// The same documents for a model on a tape.
    pub(crate) fn on_tape(self) -> Documents<Autodiff<B>> {
        Documents {
            starts: Tensor::from_inner(self.starts),
        }
    }

    /// Rows and tokens a row.
    pub fn dims(&self) -> [usize; 2] {
        self.starts.dims()
    }

    /// 1.0 at the first token of each document, else 0.0, `[batch, seq]`.
    pub(crate) fn resets(&self) -> Tensor<B, 2> {
        self.starts.clone().equal(self.indices()).float()
    }

    /// Positions within the documents, `[batch, seq]`.
    pub(crate) fn positions(&self) -> Tensor<B, 2, Int> {
        self.indices() - self.starts.clone()
    }

    /// For each token the first key that it sees, `[batch, seq]`.
    pub(crate) fn first_keys(&self) -> Tensor<B, 2> {
        self.starts.clone().float()
    }

    fn indices(&self) -> Tensor<B, 2, Int> {
        let [batch, seq] = self.dims();
        let index = Tensor::<B, 1, Int>::arange(0..seq as i64, &self.starts.device());
        index.reshape([1, seq]).expand([batch, seq])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::Flex;

    fn floats<const D: usize>(tensor: Tensor<Flex, D>) -> Vec<f32> {
        tensor.into_data().into_vec().unwrap()
    }

    #[test]
    fn starts_positions_and_first_keys_are_those_of_the_lengths() {
        let rows = [vec![2, 3], vec![4, 1]];
        let documents = Documents::<Flex>::from_lengths(&rows, &Default::default()).unwrap();
        assert_eq!(documents.dims(), [2, 5]);
        let resets = [1., 0., 1., 0., 0., 1., 0., 0., 0., 1.];
        assert_eq!(floats(documents.resets()), resets);
        let positions = floats(documents.positions().float());
        assert_eq!(positions, [0., 1., 0., 1., 2., 0., 1., 2., 3., 0.]);
        let first = floats(documents.first_keys());
        assert_eq!(first, [0., 0., 2., 2., 2., 0., 0., 0., 0., 4.]);
    }

    #[test]
    fn an_empty_document_and_a_row_of_another_length_are_named() {
        let wrong = |rows: &[Vec<usize>]| {
            let result = Documents::<Flex>::from_lengths(rows, &Default::default());
            result.expect_err("wrong").to_string()
        };
        assert_eq!(
            wrong(&[vec![2, 3], vec![5, 0]]),
            "documents of row 1: document 1 is empty"
        );
        assert_eq!(
            wrong(&[vec![2, 3], vec![4]]),
            "documents of row 1: its documents have 4 tokens, those of row 0 have 5"
        );
    }
}
