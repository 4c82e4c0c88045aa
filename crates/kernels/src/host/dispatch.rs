//! One body, compiled for the instruction sets worth having and chosen at run time.

/// Defines `fn $name($args)` that runs `$body::<FMA>($args)`, compiled with AVX2 and FMA where the
/// processor has them. `FMA` says whether a fused multiply-add is an instruction.
macro_rules! dispatch {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:ident) => {
        $(#[$meta])*
        $visibility fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn fast($($arg: $ty),*) {
                    $body::<true>($($arg),*)
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the two features were just detected.
                    return unsafe { fast($($arg),*) };
                }
            }
            $body::<{ cfg!(target_arch = "aarch64") }>($($arg),*)
        }
    };
}

pub(crate) use dispatch;
