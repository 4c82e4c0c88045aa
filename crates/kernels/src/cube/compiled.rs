//! Where compiled kernels are kept between runs.

use cubecl::config::CubeClRuntimeConfig;
use cubecl::config::cache::CacheConfig;
use cubecl_common::config::RuntimeConfig;

/// Keeps compiled kernels on disk, so that only the first run of a machine pays for them, in a folder of their own for each
/// version of this crate's sources: cubecl knows a kernel by its name and sizes, and would go on running one whose code has
/// changed.
///
/// To be called before the first use of a device; later it does nothing. The folder lies under `compilation.cache` of
/// `cubecl.toml` (`target/` of the project, or the user's cache folder).
pub fn keep_compiled_kernels() {
    if CubeClRuntimeConfig::storage().lock().is_some() {
        return;
    }
    let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
    let root = config.compilation.cache.take().unwrap_or_default().root();
    let folder = root.join(concat!("kernels-", env!("KERNELS_FINGERPRINT")));
    config.compilation.cache = Some(CacheConfig::File(folder));
    CubeClRuntimeConfig::set(config);
}
