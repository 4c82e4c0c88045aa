//! From the path of a parameter in the module tree to its Hugging Face key and layout.

/// Differences between a parameter here and in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileLayout {
    /// None
    Same,
    /// `[in, out]` here, `[out, in]` in the file
    Transposed,
    /// `[channels, width]` here, `[channels, 1, width]` in the file
    Depthwise,
}

impl FileLayout {
    /// Shape in the file of a parameter of shape `held`.
    pub(super) fn file_shape(self, held: &[usize]) -> Vec<usize> {
        match (self, held) {
            (Self::Transposed, [d_input, d_output]) => vec![*d_output, *d_input],
            (Self::Depthwise, [channels, width]) => vec![*channels, 1, *width],
            _ => held.to_vec(),
        }
    }

    /// Values in the order of the file.
    pub(super) fn to_file(self, values: Vec<f32>, held: &[usize]) -> Vec<f32> {
        match (self, held) {
            (Self::Transposed, [rows, columns]) => transpose(&values, *rows, *columns),
            _ => values,
        }
    }

    /// Values in the order of the module, from those of the file.
    pub(super) fn to_held(self, values: Vec<f32>, held: &[usize]) -> Vec<f32> {
        match (self, held) {
            (Self::Transposed, [rows, columns]) => transpose(&values, *columns, *rows),
            _ => values,
        }
    }
}

/// Transposes a row-major matrix, tile by tile to stay in the cache.
fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const TILE: usize = 32;
    let mut turned = vec![0.0; values.len()];
    for row_start in (0..rows).step_by(TILE) {
        for column_start in (0..columns).step_by(TILE) {
            for row in row_start..rows.min(row_start + TILE) {
                for column in column_start..columns.min(column_start + TILE) {
                    turned[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    turned
}

/// Where a visitor stands in the module tree.
#[derive(Debug, Default)]
pub(super) struct Path {
    names: Vec<String>,
    containers: Vec<String>,
}

impl Path {
    pub(super) fn enter(&mut self, name: &str, container: &str) {
        self.names.push(name.to_string());
        self.containers.push(container.to_string());
    }

    pub(super) fn exit(&mut self) {
        self.names.pop();
        self.containers.pop();
    }

    pub(super) fn layout(&self) -> FileLayout {
        let is_weight = self.names.last().is_some_and(|name| name == "weight");
        match self.containers.last().map(String::as_str) {
            Some("Struct:Linear") if is_weight => FileLayout::Transposed,
            Some("Struct:DepthwiseConv") if is_weight => FileLayout::Depthwise,
            _ => FileLayout::Same,
        }
    }

    pub(super) fn key(&self) -> String {
        let mut key = String::new();
        if self.names.first().is_some_and(|name| name != "lm_head") {
            key.push_str("model");
        }
        for name in &self.names {
            let name = match name.as_str() {
                "mixer" => continue,
                "Attention" => "self_attn",
                "Mamba1" | "Mamba2" => "mamba",
                "gamma" => "weight",
                "a_log" => "A_log",
                "d" => "D",
                "b_proj" => "B_proj",
                "c_proj" => "C_proj",
                other => other,
            };
            if !key.is_empty() {
                key.push('.');
            }
            key.push_str(name);
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_gives_the_matrix_back() {
        let values: Vec<f32> = (0..35 * 67).map(|i| i as f32).collect();
        let turned = transpose(&values, 35, 67);
        assert_eq!(turned[3 * 35 + 2], values[2 * 67 + 3]);
        assert_eq!(transpose(&turned, 67, 35), values);
    }
}
