"""The rules: how a weight moves along its gradient. Each is its slots with their initial values, and one equation.

rule_optimizer.RuleOptimizer applies them. Importing this module does not import TensorFlow: flags and help read RULES.

Letters: w weight, g gradient, η learning rate, m and v averages, λ weight decay, t updates counted from 1.
Each rule also has u of every update under a gradient that never changes, in NumPy: optimizer_movement.py sums it up.
"""

from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

import numpy as np

from .base.deferred_tensorflow import tf
from .base.errors import UserError

Slots = Dict[str, Any]  # slot name → tensor


class Rule(NamedTuple):
    """How one variable moves.

    slots: name → initial value of the variables kept beside each weight; a checkpoint has them as `<weight>/<slot>`.
    direction(g, slots, t) gives (u, new slots): the weight moves by -η · (u + λ · w). t is the optimizer's own count
        of updates, float64, saved with the slots; None where `counts` is False.
    steady(g, t) gives u of the updates t = 1, 2, … in closed form where each gradient is g > 0; t is a float64 vector.
        With trust_ratio it is u over the root mean square of the weight's u, the other gradients being noise.
    counts: direction reads t.
    trust_ratio: u + λ · w is scaled to the norm of the weight, unless the weight's name is excluded from decay.
    centralizes: the gradient of a kernel loses its mean over all axes but the last (Yong et al.,
        https://arxiv.org/abs/2004.01461).
    lazy: a sparse gradient moves only the rows that it has, and only their slots.
    rests: a gradient of 0 moves neither the weight nor a slot. So a sparse gradient can be applied to its rows alone
        if the weight is not decayed.
    lookahead: (k, α): every k updates the slow copy of a weight moves by α towards it, and the weight takes its value.
    """

    slots: Dict[str, float]
    direction: Callable[[Any, Slots, Any], Tuple[Any, Slots]]
    steady: Callable[[float, np.ndarray], np.ndarray]
    counts: bool = False
    trust_ratio: bool = False
    centralizes: bool = False
    lazy: bool = False
    rests: bool = False
    lookahead: Optional[Tuple[int, float]] = None


def sgd() -> Rule:
    """u = g"""
    return Rule({}, lambda g, slots, t: (g, {}), lambda g, t: np.full_like(t, g), rests=True)


def momentum(momentum: float = 0.9) -> Rule:
    """a = μ a + g;  u = a. Polyak, 1964; as tf.train.MomentumOptimizer."""

    def direction(g: Any, slots: Slots, t: Any) -> Tuple[Any, Slots]:
        a = momentum * slots["momentum"] + g
        return a, {"momentum": a}

    return Rule({"momentum": 0.0}, direction, lambda g, t: _steady_sum(g, t, momentum))


def _steady_sum(g: float, t: np.ndarray, momentum: float) -> np.ndarray:
    """a = μ a + g after t updates: g (1-μ^t) / (1-μ)."""
    return g * (1.0 - momentum**t) / (1.0 - momentum)


def nag(momentum: float = 0.9) -> Rule:
    """a = μ a + g;  u = g + μ a. Nesterov, 1983; as tf.train.MomentumOptimizer with use_nesterov."""

    def direction(g: Any, slots: Slots, t: Any) -> Tuple[Any, Slots]:
        a = momentum * slots["momentum"] + g
        return g + momentum * a, {"momentum": a}

    return Rule({"momentum": 0.0}, direction, lambda g, t: g + momentum * _steady_sum(g, t, momentum))


def adagrad(initial_accumulator: float = 0.1) -> Rule:
    """s = s + g², from s₀;  u = g / √s. Duchi et al., https://jmlr.org/papers/v12/duchi11a.html

    Default from: tf.train.AdagradOptimizer.
    """

    def direction(g: Any, slots: Slots, t: Any) -> Tuple[Any, Slots]:
        s = slots["accumulator"] + tf.square(g)
        return g / tf.sqrt(s), {"accumulator": s}

    def steady(g: float, t: np.ndarray) -> np.ndarray:
        return g / np.sqrt(initial_accumulator + t * g**2)

    return Rule({"accumulator": initial_accumulator}, direction, steady, rests=True)


def adadelta(rho: float = 0.95, epsilon: float = 1e-8) -> Rule:
    """s = ρ s + (1-ρ) g²;  u = √(d + ε) / √(s + ε) · g;  d = ρ d + (1-ρ) u². Zeiler, https://arxiv.org/abs/1212.5701

    The paper's η is 1.
    """

    def direction(g: Any, slots: Slots, t: Any) -> Tuple[Any, Slots]:
        d = slots["delta_average"]
        s = rho * slots["square_average"] + (1.0 - rho) * tf.square(g)
        u = tf.sqrt(d + epsilon) / tf.sqrt(s + epsilon) * g
        return u, {"square_average": s, "delta_average": rho * d + (1.0 - rho) * tf.square(u)}

    def steady(g: float, t: np.ndarray) -> np.ndarray:
        shares = g**2 / ((1.0 - rho**t) * g**2 + epsilon)  # g² / (s + ε)
        growth = rho + (1.0 - rho) * shares
        averages = np.empty_like(t)  # d + ε before each update
        average = epsilon
        for index, factor in enumerate(growth.tolist()):
            averages[index] = average
            average = factor * average + (1.0 - rho) * epsilon
        return np.sqrt(averages * shares)

    return Rule({"square_average": 0.0, "delta_average": 0.0}, direction, steady)


def rmsprop(rho: float = 0.9, epsilon: float = 1e-10) -> Rule:
    """s = ρ s + (1-ρ) g², from 1;  u = g / √(s + ε). Tieleman and Hinton, 2012; as tf.train.RMSPropOptimizer."""

    def direction(g: Any, slots: Slots, t: Any) -> Tuple[Any, Slots]:
        s = rho * slots["square_average"] + (1.0 - rho) * tf.square(g)
        return g / tf.sqrt(s + epsilon), {"square_average": s}

    def steady(g: float, t: np.ndarray) -> np.ndarray:
        return g / np.sqrt(rho**t + (1.0 - rho**t) * g**2 + epsilon)

    return Rule({"square_average": 1.0}, direction, steady)


_ADAM_SLOTS = {"adam_m": 0.0, "adam_v": 0.0}


def _averages(g: Any, slots: Slots, beta_1: float, beta_2: float) -> Tuple[Any, Any]:
    """m = β1 m + (1-β1) g;  v = β2 v + (1-β2) g²"""
    m = beta_1 * slots["adam_m"] + (1.0 - beta_1) * g
    v = beta_2 * slots["adam_v"] + (1.0 - beta_2) * tf.square(g)
    return m, v


def _steady_averages(g: float, t: np.ndarray, beta_1: float, beta_2: float) -> Tuple[np.ndarray, np.ndarray]:
    """m and v after t updates: (1-β1^t) g and (1-β2^t) g²."""
    return (1.0 - beta_1**t) * g, (1.0 - beta_2**t) * g**2


def _steady_correction(t: np.ndarray, beta_1: float, beta_2: float) -> np.ndarray:
    """_correction, of a vector."""
    return np.sqrt(1.0 - beta_2**t) / (1.0 - beta_1**t)


def _correction(t: Any, beta_1: float, beta_2: float) -> Any:
    """√(1-β2^t) / (1-β1^t), for averages that start at 0. In float64: 1-β2^t loses four digits in float32."""
    one = tf.ones([], tf.float64)
    return tf.cast(tf.sqrt(one - beta_2**t) / (one - beta_1**t), tf.float32)


def adamw(beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-6, bias_correction: bool = False) -> Rule:
    """m = β1 m + (1-β1) g;  v = β2 v + (1-β2) g²;  u = m / (√v + ε).

    Adam (Kingma and Ba, https://arxiv.org/abs/1412.6980) with decoupled decay (Loshchilov and Hutter,
    https://arxiv.org/abs/1711.05101).

    Differs from the paper: m and v are not corrected for their start at 0, as in BERT. With bias_correction, u is
    scaled by √(1-β2^t) / (1-β1^t).
    Default from: google-research/bert.
    """

    def direction(g: Any, slots: Slots, t: Any) -> Tuple[Any, Slots]:
        m, v = _averages(g, slots, beta_1, beta_2)
        u = m / (tf.sqrt(v) + epsilon)
        return u * _correction(t, beta_1, beta_2) if bias_correction else u, {"adam_m": m, "adam_v": v}

    def steady(g: float, t: np.ndarray) -> np.ndarray:
        m, v = _steady_averages(g, t, beta_1, beta_2)
        u = m / (np.sqrt(v) + epsilon)
        return u * _steady_correction(t, beta_1, beta_2) if bias_correction else u

    return Rule(_ADAM_SLOTS, direction, steady, counts=bias_correction)


def adam(beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8) -> Rule:
    """u = √(1-β2^t) / (1-β1^t) · m / (√v + ε). Kingma and Ba, https://arxiv.org/abs/1412.6980

    Differs from the paper: ε is added before the correction (the ε̂ of its section 2), as in tf.train.AdamOptimizer.
    """
    return adamw(beta_1, beta_2, epsilon, bias_correction=True)


def lazyadam(beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8) -> Rule:
    """adam, but a sparse gradient moves, decays and averages only the rows that it has."""
    return adam(beta_1, beta_2, epsilon)._replace(lazy=True)


def amsgrad(beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8) -> Rule:
    """h = max(h, v);  u = √(1-β2^t) / (1-β1^t) · m / (√h + ε). Reddi et al., https://arxiv.org/abs/1904.09237

    Differs from the paper: corrected for the start at 0, as adam.
    """

    def direction(g: Any, slots: Slots, t: Any) -> Tuple[Any, Slots]:
        m, v = _averages(g, slots, beta_1, beta_2)
        h = tf.maximum(slots["adam_vmax"], v)
        return m / (tf.sqrt(h) + epsilon) * _correction(t, beta_1, beta_2), {"adam_m": m, "adam_v": v, "adam_vmax": h}

    steady = adam(beta_1, beta_2, epsilon).steady  # v only grows
    return Rule(dict(_ADAM_SLOTS, adam_vmax=0.0), direction, steady, counts=True)


def nadam(beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7) -> Rule:
    """μ_t = β1 (1 - 0.5 · 0.96^(0.004 t));  ĝ = g / (1 - Πμ_1…t);  m̂ = m / (1 - Πμ_1…t+1);  v̂ = v / (1-β2^t);
    u = [(1-μ_t) ĝ + μ_t+1 m̂] / (√v̂ + ε). Dozat, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ

    Default from: Keras.
    """
    times = np.arange(1, 402, dtype=np.float64)
    mus = beta_1 * (1.0 - 0.5 * 0.96 ** (0.004 * times))
    # Each μ is below 0.9 or so and starts at half of β1: after 400 updates the product is 0 in float32.
    products = np.cumprod(mus)

    def direction(g: Any, slots: Slots, t: Any) -> Tuple[Any, Slots]:
        m, v = _averages(g, slots, beta_1, beta_2)
        index = tf.minimum(tf.cast(t, tf.int64) - 1, 399)
        mu, next_mu = (beta_1 * (1.0 - 0.5 * tf.constant(0.96, tf.float64) ** (0.004 * (t + n))) for n in (0, 1))
        one = tf.ones([], tf.float64)
        g_factor = (one - mu) / (one - tf.gather(products, index))
        m_factor = next_mu / (one - tf.gather(products, index + 1))
        v_hat = v * tf.cast(one / (one - beta_2**t), tf.float32)
        u = (tf.cast(g_factor, tf.float32) * g + tf.cast(m_factor, tf.float32) * m) / (tf.sqrt(v_hat) + epsilon)
        return u, {"adam_m": m, "adam_v": v}

    def steady(g: float, t: np.ndarray) -> np.ndarray:
        m, _ = _steady_averages(g, t, beta_1, beta_2)
        index = np.minimum(t, 400).astype(np.int64) - 1
        mu, next_mu = (beta_1 * (1.0 - 0.5 * 0.96 ** (0.004 * (t + n))) for n in (0, 1))
        u = (1.0 - mu) * g / (1.0 - products[index]) + next_mu * m / (1.0 - products[index + 1])
        return u / (g + epsilon)

    return Rule(_ADAM_SLOTS, direction, steady, counts=True)


def radam(beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8, early_steps: bool = False) -> Rule:
    """ρ∞ = 2 / (1-β2) - 1;  ρ_t = ρ∞ - 2 t β2^t / (1-β2^t);
    r = √[(ρ_t-4)(ρ_t-2) ρ∞ / ((ρ∞-4)(ρ∞-2) ρ_t)];  u = r · (adam's u) where ρ_t ≥ 5.
    Liu et al., https://arxiv.org/abs/1908.03265

    The rectification r is a warm-up of its own. If the schedule warms up too, radam moves less than adam, in a short
    run several times less. While ρ_t < 5 (the first five updates at β2 = 0.999) it does not move; with early_steps it
    then moves by u = m / (1-β1^t).
    Differs from the paper: the threshold is 5, as in its authors' code, not 4.
    """
    rho_inf = 2.0 / (1.0 - beta_2) - 1.0
    if rho_inf <= 5.0:
        raise UserError("radam never moves at beta_2={} (--adam_beta2). Give more than 2/3.".format(beta_2))

    def direction(g: Any, slots: Slots, t: Any) -> Tuple[Any, Slots]:
        m, v = _averages(g, slots, beta_1, beta_2)
        one = tf.ones([], tf.float64)
        power = beta_2**t
        rho = rho_inf - 2.0 * t * power / (one - power)
        rectified = rho >= 5.0
        rho = tf.maximum(rho, 5.0)  # so that the root is real where it is not used
        r = tf.sqrt((rho - 4.0) * (rho - 2.0) * rho_inf / ((rho_inf - 4.0) * (rho_inf - 2.0) * rho))
        r = tf.cast(tf.where_v2(rectified, r, tf.zeros_like(r)), tf.float32)
        u = r * _correction(t, beta_1, beta_2) * m / (tf.sqrt(v) + epsilon)
        if early_steps:
            early = tf.cast(tf.where_v2(rectified, tf.zeros_like(one), one / (one - beta_1**t)), tf.float32)
            u += early * m
        return u, {"adam_m": m, "adam_v": v}

    def steady(g: float, t: np.ndarray) -> np.ndarray:
        m, v = _steady_averages(g, t, beta_1, beta_2)
        power = beta_2**t
        rho = rho_inf - 2.0 * t * power / (1.0 - power)
        late = np.maximum(rho, 5.0)
        r = np.sqrt((late - 4.0) * (late - 2.0) * rho_inf / ((rho_inf - 4.0) * (rho_inf - 2.0) * late))
        u = r * _steady_correction(t, beta_1, beta_2) * m / (np.sqrt(v) + epsilon)
        return np.where(rho >= 5.0, u, m / (1.0 - beta_1**t) if early_steps else 0.0)

    return Rule(_ADAM_SLOTS, direction, steady, counts=True)


def lamb(beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-6, bias_correction: bool = False) -> Rule:
    """adamw's u;  w moves by -η · ‖w‖ / ‖u + λ w‖ · (u + λ w). You et al., https://arxiv.org/abs/1904.00962

    The ratio is 1 where either norm is 0, and for names that are not decayed.
    """

    def steady(g: float, t: np.ndarray) -> np.ndarray:
        # Of noise of size g, m has the variance (1-β1)/(1+β1) · (1-β1^2t) g²; v and the correction cancel.
        return (1.0 - beta_1**t) / np.sqrt((1.0 - beta_1) / (1.0 + beta_1) * (1.0 - beta_1 ** (2.0 * t)))

    return adamw(beta_1, beta_2, epsilon, bias_correction)._replace(trust_ratio=True, steady=steady)


def lookahead(rule: Rule, steps: int = 5, alpha: float = 0.5) -> Rule:
    """Every k updates: φ = φ + α (w - φ);  w = φ. Zhang et al., https://arxiv.org/abs/1907.08610

    The slow weights φ are taken from w in the first update, so they are right whatever initialised w.
    """
    return rule._replace(lookahead=(steps, alpha), counts=True)


def ranger(beta_1: float = 0.95, beta_2: float = 0.999, epsilon: float = 1e-5) -> Rule:
    """lookahead(radam) with k = 6, α = 0.5, and centralised gradients of kernels.

    Default from: https://github.com/lessw2020/Ranger-Deep-Learning-Optimizer
    """
    return lookahead(radam(beta_1, beta_2, epsilon)._replace(centralizes=True), steps=6)


RULES: Dict[str, Callable[..., Rule]] = {
    "adadelta": adadelta,
    "adagrad": adagrad,
    "adam": adam,
    "adamw": adamw,
    "amsgrad": amsgrad,
    "lamb": lamb,
    "lazyadam": lazyadam,
    "momentum": momentum,
    "nadam": nadam,
    "nag": nag,
    "radam": radam,
    "ranger": ranger,
    "rmsprop": rmsprop,
    "sgd": sgd,
}
