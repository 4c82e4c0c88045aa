//! How a product is cut into tiles.

use burn::tensor::{DType, Shape};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::features::{MmaConfig, Tma};
use cubecl::prelude::*;
use cubek_matmul::components::stage::PartitionBuffering;
use cubek_matmul::components::tile::TileMatmulKind;
use cubek_matmul::definition::{MatmulGlobalElems, MatmulProblem, TilingBlueprint, TilingScheme};
use cubek_std::cube_count::{CubeCountStrategy, GlobalOrder, HypercubeBlueprint};
use cubek_std::stage::SwizzleMode;
use cubek_std::{MatrixLayout, SwizzleModes};

/// Rows, columns and inner dimension of a matrix unit's instruction.
const INSTRUCTION: [u32; 3] = [16, 8, 16];
/// Units of a plane.
const PLANE: u32 = 32;
/// Bytes at whose multiples a copy of tiles starts, and of which its lines are multiples.
pub(super) const ALIGNED: usize = 16;
/// Bytes of a line of a tile whose places are mixed so that matrix units read it without conflicts.
const SWIZZLED: usize = 128;
/// Neighbouring cubes read the same rows this many at a time.
const NEIGHBOURS: u32 = 4;
/// Most matrices of a batch: cubes along one axis.
const MOST_BATCH: usize = 65_535;

/// A product of matrices in two bytes an element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) rows: usize,
    pub(super) inner: usize,
    pub(super) columns: usize,
    pub(super) lhs: MatrixLayout,
    pub(super) rhs: MatrixLayout,
    /// Lines of an operand are apart.
    pub(super) has_gaps: bool,
}

/// Instructions of a plane in each dimension, and planes of a cube along rows and columns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tiles {
    partition: [u32; 3],
    planes: [u32; 2],
}

/// 128 x 128, 128 x 64 and 64 x 64 of the result for each cube, 64 of the inner dimension at a time.
const LARGE: Tiles = Tiles {
    partition: [4, 8, 4],
    planes: [2, 2],
};
const MIDDLE: Tiles = Tiles {
    partition: [2, 8, 4],
    planes: [4, 1],
};
const SMALL: Tiles = Tiles {
    partition: [2, 4, 4],
    planes: [2, 2],
};

impl Tiles {
    /// Rows and columns of the result that a cube computes.
    fn extent(self) -> [usize; 2] {
        [0, 1].map(|axis| (self.partition[axis] * self.planes[axis] * INSTRUCTION[axis]) as usize)
    }

    fn cubes(self, sizes: &Sizes) -> usize {
        let [rows, columns] = self.extent();
        sizes.batch * sizes.rows.div_ceil(rows) * sizes.columns.div_ceil(columns)
    }

    /// Cubes of the smallest tiles.
    pub(super) fn cubes_of_least(sizes: &Sizes) -> usize {
        SMALL.cubes(sizes)
    }

    /// The largest tiles that keep every one of `processors` busy and are not half empty.
    pub(super) fn for_device(sizes: &Sizes, processors: usize) -> Self {
        let is_enough = |tiles: Self, each| {
            let [_, columns] = tiles.extent();
            columns < 2 * sizes.columns && tiles.cubes(sizes) >= each * processors
        };
        if is_enough(LARGE, 8) {
            LARGE
        } else if is_enough(MIDDLE, 2) {
            MIDDLE
        } else {
            SMALL
        }
    }

    pub(super) fn blueprint(self, sizes: &Sizes, dtypes: MatmulGlobalElems) -> TilingBlueprint {
        let [m, n, k] = INSTRUCTION;
        let [along_m, along_n, along_k] = self.partition;
        let scheme = TilingScheme::builder()
            .with_tile_size((m, n, k).into())
            .with_partition_size((along_m, along_n, along_k).into())
            .with_stage_size((self.planes[0], self.planes[1], 1).into())
            .build()
            .expect("all three sizes are there");
        let none = || Shape::from(Vec::<usize>::new());
        let problem = MatmulProblem::from_parameters(
            sizes.rows,
            sizes.columns,
            sizes.inner,
            none(),
            none(),
            sizes.lhs,
            sizes.rhs,
            MatrixLayout::RowMajor,
            None,
            None,
            dtypes,
            AddressType::default(),
        );
        let cubes = HypercubeBlueprint::builder()
            .global_order(GlobalOrder::SwizzleRow(NEIGHBOURS))
            .cube_count_strategy(CubeCountStrategy::FromProblem)
            .build();
        let [rows, columns] = self.extent();
        let inner = (along_k * k) as usize;
        TilingBlueprint::builder(TileMatmulKind::Mma, scheme, PLANE, &problem)
            .partition_buffering(PartitionBuffering::Single)
            .hypercube_blueprint(cubes)
            .shared_swizzle(SwizzleModes {
                lhs: swizzle(sizes.lhs, rows, inner),
                rhs: swizzle(sizes.rhs, inner, columns),
                ..Default::default()
            })
            .build()
    }
}

/// For a tile whose lines are those of `layout`.
fn swizzle(layout: MatrixLayout, rows: usize, columns: usize) -> SwizzleMode {
    let line = match layout {
        MatrixLayout::RowMajor => columns,
        MatrixLayout::ColMajor => rows,
    };
    match line * size_of::<u16>() == SWIZZLED {
        true => SwizzleMode::B128,
        false => SwizzleMode::None,
    }
}

/// Whether the device copies tiles by itself, and multiplies them in this type.
pub(crate) fn multiplies_quickly<R: CubeRuntime>(tensor: &CubeTensor<R>) -> bool {
    if !matches!(tensor.dtype, DType::BF16 | DType::F16) {
        return false;
    }
    let properties = tensor.client.properties();
    let [m, n, k] = INSTRUCTION;
    let instruction = MmaConfig {
        a_type: tensor.dtype.into(),
        b_type: tensor.dtype.into(),
        cd_type: DType::F32.into(),
        m,
        n,
        k,
    };
    properties.features.tma.contains(Tma::Base)
        && properties.features.matmul.mma.contains(&instruction)
        && properties.hardware.plane_size_max == PLANE
}

/// The sizes of a product, if all there is fits into tiles that a device can copy: see [`layout`].
pub(super) fn sizes<R: CubeRuntime>(lhs: &CubeTensor<R>, rhs: &CubeTensor<R>) -> Option<Sizes> {
    let (left, right) = (lhs.meta.shape(), rhs.meta.shape());
    let rank = left.num_dims();
    let batch = |shape: &Shape| shape.iter().take(rank - 2).product::<usize>();
    let sizes = Sizes {
        batch: batch(left),
        rows: left[rank - 2],
        inner: left[rank - 1],
        columns: right[rank - 1],
        lhs: layout(lhs)?,
        rhs: layout(rhs)?,
        has_gaps: [lhs, rhs].iter().any(|operand| has_gaps(operand)),
    };
    let is_matrix = [sizes.rows, sizes.inner, sizes.columns]
        .iter()
        .all(|size| *size > 1);
    (is_matrix && sizes.batch <= MOST_BATCH).then_some(sizes)
}

/// How the elements of a matrix lie.
struct Lines {
    layout: MatrixLayout,
    /// Elements of a line, which lie together
    width: usize,
    /// Elements from one line to the next
    stride: usize,
}

/// None if neither dimension of the matrices lies together.
fn lines<R: CubeRuntime>(tensor: &CubeTensor<R>) -> Option<Lines> {
    let (shape, strides) = (tensor.meta.shape(), tensor.meta.strides());
    let [rows, columns] = [shape.num_dims() - 2, shape.num_dims() - 1];
    match (strides[rows], strides[columns]) {
        (stride, 1) => Some(Lines {
            layout: MatrixLayout::RowMajor,
            width: shape[columns],
            stride,
        }),
        (1, stride) => Some(Lines {
            layout: MatrixLayout::ColMajor,
            width: shape[rows],
            stride,
        }),
        _ => None,
    }
}

/// Which dimension of the matrices lies together; none if lines do not start where a copy can, or matrices do not follow each other.
pub(super) fn layout<R: CubeRuntime>(tensor: &CubeTensor<R>) -> Option<MatrixLayout> {
    let Lines {
        layout,
        width,
        stride,
    } = lines(tensor)?;
    let (shape, strides) = (tensor.meta.shape(), tensor.meta.strides());
    let rank = shape.num_dims();
    let mut together = shape[rank - 2] * shape[rank - 1];
    for dim in (0..rank - 2).rev() {
        if stride != width || (shape[dim] > 1 && strides[dim] != together) {
            return None;
        }
        together *= shape[dim];
    }
    let start = tensor.handle.offset_start.unwrap_or(0) as usize;
    let is_aligned = |bytes: usize| bytes.is_multiple_of(ALIGNED);
    let is_aligned = is_aligned(stride * tensor.dtype.size()) && is_aligned(start);
    (stride >= width && is_aligned).then_some(layout)
}

fn has_gaps<R: CubeRuntime>(tensor: &CubeTensor<R>) -> bool {
    lines(tensor).is_some_and(|lines| lines.stride != lines.width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(batch: usize, rows: usize, inner: usize, columns: usize) -> Sizes {
        let (lhs, rhs) = (MatrixLayout::RowMajor, MatrixLayout::RowMajor);
        Sizes {
            batch,
            rows,
            inner,
            columns,
            lhs,
            rhs,
            has_gaps: false,
        }
    }

    #[test]
    fn tiles_are_as_large_as_keep_the_device_busy() {
        let tiles = |sizes: Sizes| Tiles::for_device(&sizes, 132);
        assert_eq!(tiles(sizes(1, 8192, 576, 49_152)), LARGE);
        assert_eq!(tiles(sizes(1, 8192, 576, 1536)), MIDDLE);
        assert_eq!(tiles(sizes(1, 8192, 576, 576)), MIDDLE);
        assert_eq!(tiles(sizes(1, 8192, 576, 192)), SMALL);
        assert_eq!(tiles(sizes(1, 576, 8192, 576)), SMALL);
        assert_eq!(tiles(sizes(48, 1536, 64, 512)), LARGE);
        assert_eq!(tiles(sizes(200, 1536, 512, 64)), MIDDLE);
    }

    #[test]
    fn lines_of_128_bytes_are_swizzled() {
        let both = [MatrixLayout::RowMajor, MatrixLayout::ColMajor];
        let found = both.map(|layout| swizzle(layout, 128, 64));
        assert_eq!(found, [SwizzleMode::B128, SwizzleMode::None]);
    }
}
