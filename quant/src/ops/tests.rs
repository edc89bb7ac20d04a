#![allow(clippy::unwrap_used, reason = "tests")]
//! Every operation against f64, on every instruction set, with the same bits on each.

use super::*;

/// Lengths around every boundary of a vector, and a long one.
fn lengths() -> impl Iterator<Item = usize> {
    (0..70).chain([1000])
}

/// Deterministic values in `-spread..spread`.
fn values(seed: u64, n: usize, spread: f32) -> Vec<f32> {
    crate::testing::Rng::new(seed).values(n, spread)
}

/// Values that break careless code.
const SPECIAL: [f32; 24] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    1e-45,
    -1e-45,
    1e-40,
    88.72,
    88.73,
    89.5,
    -87.4,
    -103.9,
    -104.1,
    1e30,
    -1e30,
    65519.9,
    65520.0,
    3e-8,
];

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

/// Runs `op` on every instruction set and checks that the bits are those of the scalar path, which it returns.
fn on_all(what: &str, op: impl Fn(Isa) -> Vec<f32>) -> Vec<f32> {
    let want = op(Isa::SCALAR);
    for isa in Isa::available() {
        let got = op(isa);
        assert_eq!(got.len(), want.len());
        for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
            assert!(same(got, want), "{what} on {}, element {i} of {}: {got:e}, wanted {want:e}", isa.name(), got);
        }
    }
    want
}

/// Distance in units in the last place of the wanted value.
fn ulps(got: f32, want: f64) -> f64 {
    let rounded = want as f32;
    if same(got, rounded) {
        return 0.0;
    }
    let unit = f64::from(rounded.abs().next_up()) - f64::from(rounded.abs());
    (f64::from(got) - want).abs() / unit
}

#[track_caller]
fn close(got: f32, want: f64, tolerance: f64) {
    assert!((f64::from(got) - want).abs() <= tolerance, "{got:e}, wanted {want:e} within {tolerance:e}");
}

struct Exp<'a>(&'a mut [f32]);
struct Tanh;
struct ExpOp;
impl Unary for ExpOp {
    fn at<S: Lanes>(&self, s: S, x: S::F) -> S::F {
        elementary::exp(s, x)
    }
}
impl Unary for Tanh {
    fn at<S: Lanes>(&self, s: S, x: S::F) -> S::F {
        elementary::tanh(s, x)
    }
}
impl Exp<'_> {
    fn on(self, isa: Isa) {
        dispatch(isa, Each { x: self.0, op: ExpOp });
    }
}

#[test]
fn exp_is_within_two_units_everywhere() {
    // Every 4099th of all floats (a prime, so that all exponents and low bits come up).
    let x: Vec<f32> = (0..=u32::MAX).step_by(4099).map(f32::from_bits).chain(SPECIAL).collect();
    let got = on_all("exp", |isa| {
        let mut y = x.clone();
        Exp(&mut y).on(isa);
        y
    });
    for (&x, &got) in x.iter().zip(&got) {
        let want = f64::from(x).exp();
        assert!(same(got, want as f32) || ulps(got, want) <= 2.0, "exp({x:e}) = {got:e}, wanted {want:e}");
    }
}

#[test]
fn exp_is_dense_near_the_ends() {
    let x: Vec<f32> = (0..40_000).map(|i| -104.5 + i as f32 * 0.005).collect();
    let mut got = x.clone();
    Exp(&mut got).on(Isa::SCALAR);
    for (&x, &got) in x.iter().zip(&got) {
        assert!(ulps(got, f64::from(x).exp()) <= 2.0, "exp({x})");
    }
}

#[test]
fn tanh_and_sigmoid_are_accurate_and_saturate() {
    let x: Vec<f32> = (0..=u32::MAX).step_by(65_537).map(f32::from_bits).chain(SPECIAL).collect();
    let tanh = on_all("tanh", |isa| {
        let mut y = x.clone();
        dispatch(isa, Each { x: &mut y, op: Tanh });
        y
    });
    let sigm = on_all("sigmoid", |isa| {
        let mut y = x.clone();
        sigmoid(isa, &mut y);
        y
    });
    for (i, &x) in x.iter().enumerate() {
        let wide = f64::from(x);
        assert!(ulps(tanh[i], wide.tanh()) <= 4.0, "tanh({x:e}) = {:e}", tanh[i]);
        assert!(ulps(sigm[i], 1.0 / (1.0 + (-wide).exp())) <= 4.0, "sigmoid({x:e}) = {:e}", sigm[i]);
    }
}

#[test]
fn reductions() {
    for n in lengths() {
        let (a, b) = (values(1, n, 3.0), values(2, n, 2.0));
        let exact: f64 = a.iter().zip(&b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        let norm: f64 = a.iter().zip(&b).map(|(&a, &b)| (f64::from(a) * f64::from(b)).abs()).sum();
        close(on_all("dot", |isa| vec![dot(isa, &a, &b)])[0], exact, 1e-6 * norm);

        let squares: f64 = a.iter().map(|&a| f64::from(a).powi(2)).sum();
        let factor = 1.0 / (squares / n as f64 + 1e-5).sqrt();
        let out = on_all("rms_norm", |isa| {
            let (mut out, mut in_place) = (vec![9.0; n], a.clone());
            rms_norm(isa, &a, &b, 1e-5, &mut out);
            rms_norm_in_place(isa, &mut in_place, &b, 1e-5);
            assert_eq!(out, in_place);
            out
        });
        for i in 0..n {
            let want = f64::from(a[i]) * factor * f64::from(b[i]);
            close(out[i], want, 1e-6 * want.abs());
        }

        let soft = on_all("softmax", |isa| {
            let mut x = a.clone();
            softmax(isa, &mut x);
            x
        });
        let total: f64 = a.iter().map(|&x| f64::from(x).exp()).sum();
        for i in 0..n {
            let want = f64::from(a[i]).exp() / total;
            close(soft[i], want, 2e-6 * want);
        }
    }
}

#[test]
fn softmax_of_extremes() {
    let mut x = [f32::NEG_INFINITY, 3e38, 3e38, -3e38];
    softmax(Isa::SCALAR, &mut x);
    assert_eq!(x, [0.0, 0.5, 0.5, 0.0]);
}

#[test]
fn elementwise() {
    let sig = |x: f64| 1.0 / (1.0 + (-x).exp());
    type Op = fn(Isa, &mut [f32], &[f32]);
    type Exact<'a> = &'a dyn Fn(f64, f64) -> f64;
    let gelu = |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh());
    let cases: [(&str, Op, Exact<'_>); 8] = [
        ("add", add, &|x, y| x + y),
        ("add_scaled", |isa, x, y| add_scaled(isa, x, y, 0.7), &|x, y| x + y * f64::from(0.7f32)),
        ("scale", |isa, x, _| scale(isa, x, 1.7), &|x, _| x * f64::from(1.7f32)),
        ("silu_mul", silu_mul, &|x, y| x * sig(x) * y),
        ("gelu_tanh_mul", gelu_tanh_mul, &|x, y| gelu(x) * y),
        ("clamped_swiglu_mul", |isa, x, y| clamped_swiglu_mul(isa, x, y, 1.702, 7.0), &|x, y| {
            let (g, u) = (x.min(7.0), y.clamp(-7.0, 7.0));
            g * sig(f64::from(1.702f32) * g) * (u + 1.0)
        }),
        ("softcap", |isa, x, _| softcap(isa, x, 30.0), &|x, _| 30.0 * (x / 30.0).tanh()),
        ("sigmoid", |isa, x, _| sigmoid(isa, x), &|x, _| sig(x)),
    ];
    for (name, op, exact) in cases {
        for n in lengths() {
            let (x, y) = (values(3, n, 12.0), values(4, n, 9.0));
            let got = on_all(name, |isa| {
                let mut out = x.clone();
                op(isa, &mut out, &y);
                out
            });
            for i in 0..n {
                let want = exact(f64::from(x[i]), f64::from(y[i]));
                close(got[i], want, 3e-6 * want.abs() + 1e-6 * f64::from(x[i].abs().min(1.0)));
            }
        }
        for shift in 0..SPECIAL.len() {
            let y: Vec<f32> = (0..SPECIAL.len()).map(|i| SPECIAL[(i + shift) % SPECIAL.len()]).collect();
            on_all(name, |isa| {
                let mut out = SPECIAL.to_vec();
                op(isa, &mut out, &y);
                out
            });
        }
    }
}

#[test]
fn activations_at_the_ends() {
    for (op, name) in [(silu_mul as fn(Isa, &mut [f32], &[f32]), "silu"), (gelu_tanh_mul, "gelu")] {
        let mut x = [f32::NEG_INFINITY, f32::INFINITY, f32::NAN, f32::MIN, f32::MAX, 0.0];
        op(Isa::SCALAR, &mut x, &[1.0; 6]);
        assert!(x[0] == 0.0 && x[3] == 0.0 && x[5] == 0.0, "{name}: {x:?}");
        assert!(x[1] == f32::INFINITY && x[2].is_nan() && x[4] == f32::MAX, "{name}: {x:?}");
    }
}

#[test]
fn rotary_positions() {
    for pairs in lengths() {
        let angles = values(5, pairs, 3.0);
        let cos: Vec<f32> = angles.iter().map(|a| a.cos()).collect();
        let sin: Vec<f32> = angles.iter().map(|a| a.sin()).collect();
        let head = values(6, 2 * pairs + 3, 2.0);
        for halves in [false, true] {
            let got = on_all("rope", |isa| {
                let mut out = head.clone();
                rope(isa, &mut out, &cos, &sin, halves);
                out
            });
            assert_eq!(got[2 * pairs..], head[2 * pairs..]);
            for i in 0..pairs {
                let (at, to) = if halves { (i, i + pairs) } else { (2 * i, 2 * i + 1) };
                let (a, b) = (f64::from(head[at]), f64::from(head[to]));
                let (c, s) = (f64::from(cos[i]), f64::from(sin[i]));
                close(got[at], a * c - b * s, 1e-6);
                close(got[to], a * s + b * c, 1e-6);
            }
        }
    }
}

#[test]
fn half_conversions() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    for isa in Isa::available() {
        let mut wide = vec![0.0; all.len()];
        f16_to_f32(isa, &all, &mut wide);
        let mut back = vec![0; all.len()];
        f32_to_f16(isa, &wide, &mut back);
        for (i, &x) in all.iter().enumerate() {
            let want = half::f16::from_bits(x);
            assert!(same(wide[i], want.to_f32()) && (back[i] == x || want.is_nan()), "{x:#x}");
        }
        let x: Vec<f32> = (0..=u32::MAX).step_by(65_537).map(f32::from_bits).chain(SPECIAL).collect();
        let mut out = vec![0; x.len()];
        f32_to_f16(isa, &x, &mut out);
        for (&x, &out) in x.iter().zip(&out) {
            let (got, want) = (half::f16::from_bits(out), half::f16::from_f32(x));
            assert!(got == want || got.is_nan() && want.is_nan(), "{x:e} on {}", isa.name());
        }
    }
}
