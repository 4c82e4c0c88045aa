//! Learning rate: linear warm-up, then a cosine to zero (method, section 4.2).

/// Learning rate of each optimiser step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Rate at the end of warm-up.
    pub lr_peak: f64,
    /// Steps of warm-up.
    pub warmup_steps: usize,
    /// Steps in all.
    pub steps: usize,
    /// Rate after the last step.
    pub lr_floor: f64,
}

impl Schedule {
    /// Cosine to zero.
    pub fn cosine(lr_peak: f64, warmup_steps: usize, steps: usize) -> Self {
        Self {
            lr_peak,
            warmup_steps,
            steps,
            lr_floor: 0.0,
        }
    }

    /// Rate of `step`, counted from 0. The first step of a warm-up of `w` steps has `lr_peak / w`, so no step is wasted on
    /// a rate of zero.
    pub fn lr(&self, step: usize) -> f64 {
        if step < self.warmup_steps {
            return self.lr_peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let decay_steps = self.steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let progress = ((step - self.warmup_steps) as f64 / decay_steps).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        self.lr_floor + (self.lr_peak - self.lr_floor) * cosine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_is_linear_and_the_cosine_ends_at_the_floor() {
        let schedule = Schedule::cosine(1.0, 4, 12);
        let rates: Vec<_> = (0..4).map(|step| schedule.lr(step)).collect();
        assert_eq!(rates, [0.25, 0.5, 0.75, 1.0]);
        assert_eq!(schedule.lr(4), 1.0);
        assert!((schedule.lr(8) - 0.5).abs() < 1e-12);
        assert!(schedule.lr(11) > 0.0 && schedule.lr(11) < 0.1);
        assert!(schedule.lr(12).abs() < 1e-12 && schedule.lr(500).abs() < 1e-12);
        assert!((4..12).all(|step| schedule.lr(step) >= schedule.lr(step + 1)));
    }

    #[test]
    fn degenerate_lengths_are_fine() {
        assert_eq!(Schedule::cosine(1.0, 0, 0).lr(0), 1.0);
        assert_eq!(Schedule::cosine(1.0, 5, 5).lr(4), 1.0);
    }
}
