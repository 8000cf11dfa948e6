"""The engine's formulas and what to put in their place: sign, factor, a term left out, the order, one step too many.

A block is a module and the test files that must notice; then the changes: what stands there, and what is put there.
"""

from __future__ import annotations

META = "test_oracles.py test_identities.py"
Pairs = list[tuple[str, str]]


def jax(*names: str) -> str:
    """Tests of the JAX source by name: each compiles, so not all of them are run."""
    return " ".join(f"test_jax.py::test_{name}" for name in names)


MAML: Pairs = [
    ("in_rates.insert(0, -(passed[j].grad * v)", "in_rates.insert(0, (passed[j].grad * v)"),
    ("v = v - passed[j].hvp(rates[j] * v)", "v = v + passed[j].hvp(rates[j] * v)"),
    ("v = v - passed[j].hvp(rates[j] * v)", "v = v - rates[j] * passed[j].hvp(v)"),
    ("v = v - passed[j].hvp(rates[j] * v)", "v = v - 2 * passed[j].hvp(rates[j] * v)"),
    ("        v = v - passed[j].hvp(rates[j] * v)\n", ""),
    (
        "        if learns:\n            in_rates.insert(0, -(passed[j].grad * v).mean(axis=0))\n"
        "        v = v - passed[j].hvp(rates[j] * v)\n",
        "        v = v - passed[j].hvp(rates[j] * v)\n"
        "        if learns:\n            in_rates.insert(0, -(passed[j].grad * v).mean(axis=0))\n",
    ),
    ("in range(len(passed) - 1, -1, -1)", "in range(len(passed))"),
    ("in range(len(passed) - 1, -1, -1)", "in range(len(passed) - 1, 0, -1)"),
    ("            v = v + early[j]\n", "            v = v - early[j]\n"),
    ("            v = v + early[j]\n", "            pass\n"),
    ("share = 1 / max(self.inner_steps, 1)", "share = 1 / (self.inner_steps + 1)"),
    ("if len(passed) > 1 else 0", "if len(passed) > 0 else 0"),
    ("early.append(share * problem", "early.append(problem"),
    ("v = share * query.grad if weighs_all else query.grad", "v = query.grad"),
    ("rate_grads = [one * mask for one in rate_grads]", "pass"),
    ("grad = v.mean(axis=0)\n        if learns", "grad = v.sum(axis=0)\n        if learns"),
    ("            phi = point.step(rate)\n", "            phi = point.step(-rate)\n"),
    ("            phi = point.step(rate)\n", "            phi = point.step(rates[0])\n"),
    ("rate = namespace(rate).where(mask, rate, 0)", "rate = namespace(rate).where(mask, 0, rate)"),
    ("rates if mask is None else [rate * mask for rate in rates]", "rates"),
    ("self.inner_steps + judged, self.inner_steps)", "self.inner_steps + judged, 0)"),
    ("judged = max(self.inner_steps, 1) if weighs_all else 1", "judged = 1"),
    ("            theta = self.lift(problem, theta[: problem.layout.size])\n", "            pass\n"),
]
BASE: Pairs = [
    ("return theta, [self.rate(problem)] * steps", "return theta, [self.rate(problem)] * (steps + 1)"),
    ("return theta, [self.rate(problem)] * steps", "return theta, [2 * self.rate(problem)] * steps"),
    ("real(found.loss.sum()) / tasks", "real(found.loss.sum())"),
    ("tasks * found.grad_evals", "found.grad_evals"),
    ("tasks * found.hvps", "found.hvps"),
    (
        "look.state, self.meta_lr)\n        return theta - step, state",
        "look.state, self.meta_lr)\n        return theta + step, state",
    ),
    ("ignore[attr-defined]\n        return theta - step", "ignore[attr-defined]\n        return theta + step"),
    (
        "Look(real(point.loss[0]), point.grad[0], 1, 0, state)",
        "Look(real(point.loss[0]), 2 * point.grad[0], 1, 0, state)",
    ),
    (
        "phi = problem.linearize(phi, support).step(rate)\n            yield phi",
        "yield phi\n            phi = problem.linearize(phi, support).step(rate)",
    ),
]
RATES: Pairs = [
    ('slices[part] = i if "layer" in sharing else 0', "slices[part] = i"),
    ("(slices.max() + 1) * np.arange(rows)", "slices.max() * np.arange(rows)"),
    (" / count\n", "\n"),
    ("rates[min(j, len(rates) - 1)]", "rates[0]"),
    ("rates[min(j, len(rates) - 1)]", "rates[-1 - min(j, len(rates) - 1)]"),
    ("full = full.sum(axis=0, keepdims=True)", "full = full.mean(axis=0, keepdims=True)"),
    (
        "return [rates[min(j, len(rates) - 1)] for j in range(steps)]",
        "return [rates[min(j, len(rates) - 1)] for j in range(steps + 1)]",
    ),
]
IMAML: Pairs = [
    ("+ self.lam * (phi - theta)", "- self.lam * (phi - theta)"),
    ("+ self.lam * (phi - theta)", "+ 2 * self.lam * (phi - theta)"),
    (".max() > self.inner_tol**2", ".min() > self.inner_tol**2"),
    (".max() > self.inner_tol**2", ".max() > self.inner_tol"),
    ("return phi - real(far) * self.rate(problem) * pulled", "return phi + real(far) * self.rate(problem) * pulled"),
    ("return phi - real(far) * self.rate(problem) * pulled", "return phi - self.rate(problem) * pulled"),
    ("bent = direction + point.hvp(direction) / self.lam", "bent = direction + point.hvp(direction) * self.lam"),
    ("bent = direction + point.hvp(direction) / self.lam", "bent = direction - point.hvp(direction) / self.lam"),
    ("bent = direction + point.hvp(direction) / self.lam", "bent = point.hvp(direction) / self.lam"),
    ("u = u + length * direction", "u = u - length * direction"),
    ("residual = residual - length * bent", "residual = residual + length * bent"),
    ("size / before, 0)[:, None] * direction", "before / size, 0)[:, None] * direction"),
    ("direction = residual + xp.where", "direction = residual - xp.where"),
    ("(made < self.cg_steps)", "(made < self.cg_steps - 1)"),
    ("(size > self.cg_tol**2 * start).any()", "(size > self.cg_tol * start).any()"),
    ("(size > self.cg_tol**2 * start).any()", "(size > self.cg_tol**2 * start).all()"),
    ("s[2] & (s[1] < self.inner_steps)", "s[2] & (s[1] < self.inner_steps - 1)"),
    (
        "self._solve(problem.linearize(phi, batch.support), query.grad)",
        "self._solve(problem.linearize(theta, batch.support), query.grad)",
    ),
    ("u.mean(axis=0), looked + 2, hvps)", "u.mean(axis=0), looked + 1, hvps)"),
    ("(curvature <= 0) & (size > 0)", "(curvature < -1e300) & (size > 0)"),
    ("self.lam * (curvature[concave] / length[concave] - 1)", "self.lam * (curvature[concave] / length[concave])"),
    ("direction, size, made + 1", "direction, size, made + 2"),
]
PROTONET: Pairs = [
    ("in_asked = 2 * (out.grad @ middle", "in_asked = (out.grad @ middle"),
    ("- asked * out.grad.sum(axis=2, keepdims=True))", "+ asked * out.grad.sum(axis=2, keepdims=True))"),
    (
        "in_middle = 2 * (out.grad.swapaxes(1, 2) @ asked - middle",
        "in_middle = 2 * (out.grad.swapaxes(1, 2) @ asked + middle",
    ),
    ("[weights @ in_middle, in_asked]", "[0 * (weights @ in_middle), in_asked]"),
    ("[weights @ in_middle, in_asked]", "[weights @ in_middle, 0 * in_asked]"),
    ("weights = y / count", "weights = y"),
    ("2 * asked @ middle.swapaxes(1, 2) - own", "asked @ middle.swapaxes(1, 2) - own"),
    ("2 * asked @ middle.swapaxes(1, 2) - own", "own - 2 * asked @ middle.swapaxes(1, 2)"),
    ("[..., None] + (middle * middle)", "[..., None] - (middle * middle)"),
    ("episode.pull(cotangent)[0].mean(axis=0)", "episode.pull(cotangent)[0].sum(axis=0)"),
    ("Prototypes(theta, support, step > 0)", "Prototypes(theta, support, True)"),
]
HD: Pairs = [
    ("lr = lr + self.hyper_lr * slope", "lr = lr - self.hyper_lr * slope"),
    ("lr = lr + self.hyper_lr * slope", "lr = lr + 2 * self.hyper_lr * slope"),
    ("slope = real(grad @ before)", "slope = real(grad @ grad)"),
    ("lr * (1 + self.hyper_lr * slope", "lr * (1 - self.hyper_lr * slope"),
    ("lr * (1 + self.hyper_lr * slope", "lr + (self.hyper_lr * slope"),
    ("real(before @ before)) ** 0.5", "real(before @ before))"),
    ("slope / (size + (size == 0))", "slope"),
    ("return theta - lr * direction, (lr, direction, kept)", "return theta + lr * direction, (lr, direction, kept)"),
    ("return theta - lr * direction, (lr, direction, kept)", "return theta - lr * direction, (lr, look.grad, kept)"),
    ("return theta - lr * direction, (lr, direction, kept)", "return theta - lr * look.grad, (lr, direction, kept)"),
    ("return self.lr, np.zeros_like(theta)", "return self.lr, np.ones_like(theta)"),
    ('changed.get("lr", state[0])', "state[0]"),
]
UNROLL: Pairs = [
    ("self.horizon, theta[size:], self.horizon)", "self.horizon, theta[size:], self.horizon + 1)"),
    ("self.horizon, theta[size:], self.horizon)", "self.horizon, theta[size:], self.horizon - 1)"),
    ("pull_back(passed, each, end.grad, learns=True)", "pull_back(passed, each, -end.grad, learns=True)"),
    ("pull_back(passed, each, end.grad, learns=True)", "pull_back(passed, each[::-1], end.grad, learns=True)"),
    ("phi = passed[-1].step(rate)", "phi = passed[-1].step(each[0])"),
    ("self.horizon + 1, self.horizon, (state[0], ended)", "self.horizon, self.horizon, (state[0], ended)"),
    ("return theta - step, (kept, look.state[1])", "return theta + step, (kept, look.state[1])"),
    ("[problem.flat(phi, 1)[0], theta[size:]]", "[theta[:size], theta[size:]]"),
    ("np.full(theta.shape, self.lr)", "np.full(theta.shape, 2 * self.lr)"),
    ('if "lr" in changed else theta), state', "if False else theta), state"),
]
OUTER: Pairs = [
    ("(lr * grad, state))", "(-lr * grad, state))"),
    ("m = mass * state[0] + grad", "m = mass * state[0] + (1 - mass) * grad"),
    ("m = mass * state[0] + grad", "m = mass * (state[0] + grad)"),
    ("return lr * m, (m,)", "return lr * (mass * m + grad), (m,)"),
    ("m = beta1 * m + (1 - beta1) * grad", "m = beta1 * m + grad"),
    ("v = beta2 * v + (1 - beta2) * (grad * grad)", "v = beta2 * v + (1 - beta2) * grad"),
    ("v = beta2 * v + (1 - beta2) * (grad * grad)", "v = beta1 * v + (1 - beta1) * (grad * grad)"),
    ("c = beta1 * c + (1 - beta1)  #", "c = 1.0  #"),
    ("d = beta2 * d + (1 - beta2)\n", "d = 1.0\n"),
    ("root = d**0.5", "root = d"),
    ("+ eps * root)", "+ eps)"),
    ("namespace(v).sqrt(v)", "v"),
]
NETS: Pairs = [
    ("np.greater(z, 0, out=out", "np.greater_equal(z, 0, out=out"),
    ("do(np.subtract, 1, slope, slope)", "do(np.add, 1, slope, slope)"),
    ("                do(np.multiply, inner, inner, slope)\n", "                do(np.copyto, slope, inner)\n"),
    ("np.copyto(self.ws.delta[-1].each, self.out.grad)", "np.copyto(self.ws.delta[-1].each, 2 * self.out.grad)"),
    ("do(np.multiply, back.each, ws.slope[layer], delta)", "do(np.copyto, delta, back.each)"),
    ("self._through(do, second.h[layer], self.at, layer, z[layer], extra[layer])", "do(z[layer].each.fill, 0)"),
    (
        "self._through(do, h, v, layer, z[layer], extra[layer], add=layer > 0)",
        "self._through(do, h, v, layer, z[layer], extra[layer])",
    ),
    ("np.copyto(second.delta[-1].each, self.out.hvp(pushed))", "second.delta[-1].each[...] = 0"),
    ("            self._back(do, ws.delta[layer + 1], v, layer + 1, back, extra[layer], add=True)\n", ""),
    ("self._back(do, second.delta[layer + 1], self.at, layer + 1, back, extra[layer])", "do(back.each.fill, 0)"),
    ("do(np.multiply, back.each, ws.slope[layer], d_delta)", "do(np.copyto, d_delta, back.each)"),
    ("do(np.subtract, d_delta, curved, d_delta)", "do(np.add, d_delta, curved, d_delta)"),
    ("do(np.subtract, d_delta, curved, d_delta)", "pass"),
    ("do(np.multiply, curved, 2, curved)\n", "pass\n"),
    (
        "((c, turned), (c, moved))",
        "((c, turned),)",
    ),
    ("((c, turned), (c, moved))", "((c, moved),)"),
    ("(*self.at.terms, (-float(rate), self._term))", "(*self.at.terms, (float(rate), self._term))"),
    ("(*self.at.terms, (-float(rate), self._term))", "((-float(rate), self._term),)"),
    (
        "return np.subtract(np.asarray(self.phi), moved, out=moved)",
        "return np.add(np.asarray(self.phi), moved, out=moved)",
    ),
    ("        do(np.add, out, extra, out)\n", "        do(np.copyto, out, extra)\n"),
    ("_product(do, c, gram, term.cols[layer].each", "_product(do, 1, gram, term.cols[layer].each"),
    ("_product(do, c, gram, rows.inner", "_product(do, 1, gram, rows.inner"),
]
FACTORED: Pairs = [
    ("cols if c == 1 else c * cols, out=None", "cols, out=None"),
    ("                    if c != 1:\n                        do(np.multiply, c, product, product)\n", ""),
    ("        do(np.divide, out, len(self), out)\n", ""),
    (
        "self.layers.flat if self.layers.flat.ndim == 1 else self.layers.flat.mean(axis=0)",
        "self.layers.flat if self.layers.flat.ndim == 1 else self.layers.flat.sum(axis=0)",
    ),
    ("(float(c) * k, t) for k, t", "(float(c), t) for k, t"),
    ("return -1.0 * self", "return 1.0 * self"),
    ("return -self + other", "return self + other"),
    ("            out += self.layers.flat\n        for", "            pass\n        for"),
]
LAYERS: Pairs = [
    (
        "np.sum(delta, axis=1, out=into[self.shift])\n        return times",
        "np.mean(delta, axis=1, out=into[self.shift])\n        return times",
    ),
    ("out += times(dh, w[self.weight])", "pass"),
    ("into[self.weight][...] += across(moved) @ delta", "into[self.weight][...] -= across(moved) @ delta"),
    ("return times(delta, across(dw[self.weight])) if further else None", "return None"),
    ("out += row(dw[self.shift])\n        return out, dh", "pass\n        return out, dh"),
    ("return out, (out, 1 - out * out)", "return out, (out, 1 - out)"),
    ("-2 * kept[0] * moved * delta", "2 * kept[0] * moved * delta"),
    ("-2 * kept[0] * moved * delta", "-2 * kept[0] * delta"),
    ("return out, (out, np.sign(out))", "return out, (out, 0 * out + 1)"),
    ("keepdims=True) + EPS)  # (T, 1, o)", "keepdims=True))  # (T, 1, o)"),
    ("u - u.mean(axis=1, keepdims=True) - z *", "u - z *"),
    ("keepdims=True) - z * (u * z).mean(axis=1, keepdims=True))\n\n    def back", "keepdims=True))\n\n    def back"),
    (
        "return np.asarray(scale * self._unmean(delta * row(w[self.gain]), z))",
        "return np.asarray(self._unmean(delta * row(w[self.gain]), z))",
    ),
    ("np.sum(delta * z, axis=1, out=into[self.gain])", "np.sum(delta, axis=1, out=into[self.gain])"),
    ("(dz, -scale * (dh * z)", "(dz, scale * (dh * z)"),
    ("into[self.gain][...] += np.sum(delta * dz, axis=1)", "pass"),
    ("(stretch * self._unmean(u, z) - turned)", "(stretch * self._unmean(u, z) + turned)"),
    ("(stretch * self._unmean(u, z) - turned)", "(-turned)"),
    ("turned = dz * (u * z).mean(axis=1, keepdims=True) + z", "turned = z"),
    ("bent = scale * self._unmean(delta * row(dw[self.gain]), z)", "bent = 0 * scale * delta"),
    ("return out + dz * row(w[self.gain])", "return out + dz"),
    ("np.sum(delta[..., -self.size :], axis=1", "np.mean(delta[..., -self.size :], axis=1"),
    ("moves if bent is None else moves + bent", "moves if bent is None else moves - bent"),
    ("moves if bent is None else moves + bent", "moves"),
]
CONVOLUTION: Pairs = [
    ("framed[:, :, rows, columns] += parts[..., at]", "framed[:, :, rows, columns] = parts[..., at]"),
    ("at = (3 * i + j) * self.channels", "at = (3 * j + i) * self.channels"),
    ("delta / self.pixels, self.pixels", "delta, self.pixels"),
    ("None if dh is None else self._around(dh))", "None)"),
    ("return (side + 1) // 2", "return side // 2"),
    ("return None if dh is None else self._mean(dh), None", "return None if dh is None else self._mean(2 * dh), None"),
]
LOSSES: Pairs = [
    ("self.scale = 2.0 / self.error[0].size", "self.scale = 1.0 / self.error[0].size"),
    ('np.einsum("ti,ti->t", flat, flat) / flat.shape[1]', 'np.einsum("ti,ti->t", flat, flat) / 2'),
    ("return np.asarray(self.scale * v)", "return np.asarray(v)"),
    ("self.grad = (self.q - target) / self.points", "self.grad = (target - self.q) / self.points"),
    ("self.grad = (self.q - target) / self.points", "self.grad = self.q - target"),
    ("self.q * (v - (self.q * v).sum(axis=-1, keepdims=True)) / self.points", "self.q * v / self.points"),
    (
        "self.q * (v - (self.q * v).sum(axis=-1, keepdims=True)) / self.points",
        "self.q * (v - (self.q * v).sum(axis=-1, keepdims=True))",
    ),
    ("prediction.max(axis=-1, keepdims=True)  # exp", "0  # exp"),
    ("np.log(total)[..., 0] - (target * off)", "np.log(total)[..., 0] + (target * off)"),
    ("self.loss = each.mean(axis=1)", "self.loss = each.sum(axis=1)"),
    ("highest = np.max(prediction, axis=-1, keepdims=True)", "highest = 0.0"),
    ("return np.mean(total - np.sum(", "return np.sum(total - np.sum("),
    ("return np.mean((prediction - target) ** 2)", "return np.sum((prediction - target) ** 2)"),
]
SOFTMAX: Pairs = [
    ("shares: Array = e / e.sum(axis=1, keepdims=True)", "shares: Array = e / e.sum()"),
    ("off[np.arange(len(kind)), kind] -= 1", "off[np.arange(len(kind)), kind] += 1"),
    ("x.T @ off / len(x) + decay * weights", "x.T @ off / len(x)"),
    ("decay / 2 * float((weights**2).sum())", "decay * float((weights**2).sum())"),
    ("new = ahead - inverse @ grad", "new = ahead + inverse @ grad"),
    ("weights / temperature(", "weights * temperature("),
    ("-CLIP, CLIP)", "-2 * CLIP, 2 * CLIP)"),
    ("own[:, i] * own[:, j]]", "own[:, i] + own[:, j]]"),
]
MULTIMODAL: Pairs = [
    ("shared + weight @ self._offsets", "shared - weight @ self._offsets"),
    ("offsets = (weight.T @ v / len(v)).reshape(-1)", "offsets = (weight.T @ v).reshape(-1)"),
    ("odds = weight * (along - (weight * along).sum(axis=1, keepdims=True))", "odds = weight * along"),
    ("learned = (read.T @ odds / len(v))", "learned = (-read.T @ odds / len(v))"),
    ("v, _ = pull_back(passed, rates, query.grad, learns=False)", "v = query.grad"),
    ("xp.concatenate([before, learned, last])", "xp.concatenate([last, before, learned])"),
]
SUPPORTS: Pairs = [
    ("x * x - 1, x**3 - 2 * x]", "x * x - 1, x**3 - 3 * x]"),
    ("left_out = residual / xp.maximum(1 - leverage", "left_out = residual / xp.maximum(1 + leverage"),
    ("RIDGE * xp.eye(basis", "0 * xp.eye(basis"),
    ("xp.exp(-0.5 * distance / width**2)", "xp.exp(-0.5 * distance / width)"),
    ("(inverse @ y) / xp.einsum", "(inverse @ y) * xp.einsum"),
    ("centred**power).mean(1) / spread**power", "centred**power).mean(1) / spread"),
]
BUILTIN: Pairs = [
    ("off = phi - batch.y  # (T, d)", "off = phi + batch.y  # (T, d)"),
    ('0.5 * np.einsum("td,td->t", off, self.grad)', 'np.einsum("td,td->t", off, self.grad)'),
    ("(self.a @ v[..., None])", "(2 * self.a @ v[..., None])"),
    ("problem.anchor_loss + 0.5 * off.dot(bent)", "problem.anchor_loss + off.dot(bent)"),
    ("(bent + problem.slack).reshape(1, -1)", "bent.reshape(1, -1)"),
    ("scale = 2.0 / (n * self.width)", "scale = 2.0 / n"),
    ("scale * (gram @ best - moment)", "scale * (moment - gram @ best)"),
    ("gram[d, d], moment[d] = n, y.sum(0)", "gram[d, d], moment[d] = 1, y.sum(0)"),
]
STRIDES: Pairs = [
    ("multiply(slope, lr, step)", "multiply(slope, -lr, step)"),
    ("subtract(after, anchor, way)", "subtract(before, anchor, way)"),
    ("add(bend, slack, new)", "subtract(bend, slack, new)"),
    ("problem.anchor_loss + 0.5 * _dots(off, bent)", "problem.anchor_loss + _dots(off, bent)"),
]
TRACING: Pairs = [
    ("add_outgrads(outgrads.get(parent), ingrad)", "add_outgrads(None, ingrad)"),
    ("        self.top += 1\n", "        self.top = 0\n"),
]
USER: Pairs = [
    ("moved: Array = self._thetas - rate * self.grad", "moved: Array = self._thetas + rate * self.grad"),
    ("return prediction[:, None] if np.shape(getval(prediction)) == (points,) else prediction", "return prediction"),
    ("autograd.numpy.sum(_column(made, len(x)) * cotangent)", "autograd.numpy.mean(_column(made, len(x)) * cotangent)"),
]
ADAPT: Pairs = [
    ("Batch(inputs[None], wanted[None])", "Batch(inputs[None], 0 * wanted[None])"),
    ("(path[0], path[-1])", "(path[-1], path[0])"),
    ("classes[out[:, : len(classes)].argmax(axis=1)]", "classes[out[:, : len(classes)].argmin(axis=1)]"),
]
JAX_SOURCE: Pairs = [
    ("loss, grads = jax.value_and_grad(of_parts)", "loss, grads = jax.value_and_grad(lambda p: 2 * of_parts(p))"),
    ("bend(u)[1])(self._bend", "bend(u)[1] * 0)(self._bend"),
    (
        "        return self.phi - rate * self.grad\n\n\nclass HostPoint",
        "        return self.phi + rate * self.grad\n\n\nclass HostPoint",
    ),
    ("return np.asarray(self.phi - rate * self.grad)", "return np.asarray(self.phi + rate * self.grad)"),
    ("return 0.5 * off @ (x @ off)", "return off @ (x @ off)"),
    ("self.anchor_loss + 0.5 * off @ bent + off @ self.slack", "self.anchor_loss + 0.5 * off @ bent"),
    ("for layer in self.net.layers[:-1]:", "for layer in self.net.layers:"),
]
JAX_OUTPUTS: Pairs = [
    (
        "jax.vmap(lambda pull, c: pull(c))(self._pull, cotangent)",
        "jax.vmap(lambda pull, c: pull(-c))(self._pull, cotangent)",
    ),
    ("jax.value_and_grad(self._one))", "jax.value_and_grad(lambda p, y: 2 * self._one(p, y)))"),
]
JAX_PROGRAM: Pairs = [
    ("jnp.where(stays, old, new)", "jnp.where(stays, new, old)"),
    ("fresh & (i == 0)", "fresh"),
    ("fori_loop(0, n, step", "fori_loop(0, n + 1, step"),
    ("norm = jnp.sqrt(look.grad @ look.grad)", "norm = look.grad @ look.grad"),
    ("rates | {", "{"),
    ("key = (plan.problem.key, type(plan.algorithm), *fixed,", "key = (plan.problem.key, type(plan.algorithm),"),
]
JAX_CHUNKS: Pairs = [
    ("self.plan.batches(step + i)", "self.plan.batches(step)"),
    ("step - self.chunk.first + 1).theta", "step - self.chunk.first).theta"),
    ("n = max(1, min(self._quick, most, self._program.length))", "n = max(1, min(self._quick, self._program.length))"),
    ("(end - begin) * self._done / chunk.n", "(end - begin)"),
]
JAX_PRECISION: Pairs = [
    ("enable(np.dtype(dtype) == np.float64)", "enable(False)"),
    ("enable(np.dtype(dtype) == np.float64)", "enable(True)"),
    (
        "    context: AbstractContextManager[Any] = enable(np.dtype(dtype) == np.float64)\n",
        "    import contextlib\n    jax.config.update('jax_enable_x64', np.dtype(dtype) == np.float64)\n"
        "    context: Any = contextlib.nullcontext()\n",
    ),
]
L2L_FORWARD: Pairs = [
    ("m = w[1] * state + grad", "m = state + w[1] * grad"),
    ("c = forget * flat[n:] + into * xp.tanh(z[3 * n :])", "c = flat[n:] + into * xp.tanh(z[3 * n :])"),
    ("0.5 + 0.5 * xp.tanh(0.5 * z", "0.5 + 0.5 * xp.tanh(z"),
    ("in_w, in_grad, in_state = pull((d_out, d_state))", "in_w, in_grad, in_state = pull((-d_out, d_state))"),
]

PASSES: Pairs = [
    (
        "        calls.left = make(calls)\n        kept(self._prepared, key, calls)",
        "        kept(self._prepared, key, calls)\n        calls.left = make(calls)",
    ),
    ("if len(where) >= Passes.MOST", "if len(where) >= 10**9"),
    ("        self.made.append((function, given))\n", ""),
]
KEYS: Pairs = [
    ("tuple([(c, t.key) for c, t in self.terms])", "tuple([(1, t.key) for c, t in self.terms])"),
    ("return None if bare else (at, keys)", "return None if bare else (0, keys)"),
    ("out = out.copy()", "pass"),
    ("self.key = (passes.number, buffers) if", "self.key = (0, buffers) if"),
    ("self.key = (passes.number, buffers) if", "self.key = (passes.number, 0) if"),
    ("            np.copyto(up, turned)\n", "            pass\n"),
    ("        np.copyto(self.flat, flat)\n", ""),
]
ALONG: Pairs = [
    ('("hvp", second.number, along)', '("hvp", second.number)'),
    ('("hvp", second.number, along)', '("hvp", along)'),
    ("c, v = v.terms[0][0], Factored", "c, v = 1.0, Factored"),
]

BLOCKS: list[tuple[str, str, Pairs]] = [
    ("algorithms/maml.py", f"{META} test_cavia.py test_factored.py test_contract.py", MAML),
    ("algorithms/base.py", f"{META} test_costs.py test_evaluate.py test_contract.py", BASE),
    ("algorithms/rates.py", "test_rates.py", RATES),
    (
        "algorithms/fomaml.py",
        f"{META} test_contract.py",
        [
            ("query.grad.mean(axis=0)", "query.grad.sum(axis=0)"),
            ("self.adapt(problem, theta, batch.support)", "theta"),
            ("self.inner_steps + 1)", "self.inner_steps)"),
        ],
    ),
    (
        "algorithms/reptile.py",
        f"{META} test_contract.py",
        [
            (
                "moved = theta - problem.flat(phi, len(batch)).mean(axis=0)",
                "moved = problem.flat(phi, len(batch)).mean(axis=0) - theta",
            ),
            ("problem.flat(phi, len(batch)).mean(axis=0)", "problem.flat(phi, len(batch))[0]"),
            ("phi = self.adapt(problem, theta, batch.support)", "phi = self.adapt(problem, theta, batch.query)"),
        ],
    ),
    (
        "algorithms/anil.py",
        f"{META} test_contract.py",
        [
            ('if self.adapted == "last" else', "if True else"),
            ("return problem.layout.mask(names)", "return ~problem.layout.mask(names)"),
        ],
    ),
    ("algorithms/meta_sgd.py", f"{META} test_factored.py", [('hyper("parameter", ', 'hyper("run", ')]),
    (
        "algorithms/cavia.py",
        "test_cavia.py",
        [
            ("np.where(self.mask(problem), 0, theta)", "np.where(self.mask(problem), 1, theta)"),
            ("where(self.mask(problem), 0, phi)", "where(False, 0, phi)"),
            ("learned[: problem.layout.size] = ~self.mask(problem)", "pass"),
            (
                "learned[: problem.layout.size] = ~self.mask(problem)",
                "learned[: problem.layout.size] = self.mask(problem)",
            ),
        ],
    ),
    ("algorithms/imaml.py", f"test_imaml.py {META} test_contract.py", IMAML),
    ("algorithms/protonet.py", "test_protonet.py", PROTONET),
    ("algorithms/hd.py", "test_oracles.py test_contract.py", HD),
    ("algorithms/unroll.py", "test_rates.py test_oracles.py test_contract.py", UNROLL),
    ("algorithms/multimodal.py", "test_kinds.py", MULTIMODAL),
    ("algorithms/gd.py", META, [("return sgd()", "from ..outer import momentum\n\n        return momentum(0.5)")]),
    ("algorithms/momentum.py", META, [("heavy_ball(self.momentum)", "heavy_ball()")]),
    (
        "algorithms/adam.py",
        f"{META} test_contract.py",
        [("adam_rule(self.beta1, self.beta2, self.eps)", "adam_rule(self.beta2, self.beta1, self.eps)")],
    ),
    ("outer.py", META, OUTER),
    (
        "layout.py",
        f"test_models.py {META}",
        [("chosen[self.slices[name]] = True", "chosen[:] = True"), ("or [name]", "and [name]")],
    ),
    (
        "arrays.py",
        f"{META} test_factored.py",
        [("weights=weights, minlength=size)", "weights=0 * weights, minlength=size)")],
    ),
    ("nets.py", f"{META} test_factored.py", NETS),
    ("factored.py", "test_factored.py", FACTORED),
    ("factored.py", "test_buffers.py test_factored.py", KEYS),
    ("nets.py", "test_buffers.py test_factored.py", ALONG),
    ("buffers.py", "test_buffers.py", PASSES),
    ("layers.py", "test_layers.py test_cavia.py", LAYERS),
    ("convolution.py", "test_layers.py", CONVOLUTION),
    ("losses.py", "test_classes.py test_oracles.py", LOSSES),
    ("softmax.py", "test_kinds.py test_recognise.py", SOFTMAX),
    ("supports.py", "test_kinds.py", SUPPORTS),
    ("builtin.py", META, BUILTIN),
    ("strides.py", "test_strides.py", STRIDES),
    ("tracing.py", "test_autodiff.py test_identities.py", TRACING),
    ("usermodel.py", "test_autodiff.py test_identities.py test_protonet.py", USER),
    ("adapt.py", "test_classes.py test_evaluate.py test_run.py", ADAPT),
    (
        "onjax/source.py",
        jax(
            "every_method_runs_as_on_numpy[gd]",
            "every_method_runs_as_on_numpy[maml]",
            "every_method_runs_as_on_numpy[reptile]",
            "every_method_runs_as_on_numpy[protonet]",
            "meta_learning_from_every_kind_of_problem[maml-quadratics]",
            "descent_from_every_kind_of_problem",
            "evaluate_adapt_and_panel",
            "least_squares_knows_the_slope_where_it_measures_from",
        ),
        JAX_SOURCE,
    ),
    (
        "onjax/outputs.py",
        jax("every_method_runs_as_on_numpy[protonet]", "prototypes_from_every_kind_of_problem"),
        JAX_OUTPUTS,
    ),
    (
        "onjax/program.py",
        jax(
            "every_method_runs_as_on_numpy[gd]",
            "every_method_runs_as_on_numpy[maml]",
            "parameters_within_a_chunk_are_those_of_their_row",
            "a_rate_set_within_a_chunk_acts_on_the_next_step_and_compiles_nothing",
            "runs_of_one_kind_share_a_program",
            "a_first_chunk_of_several_steps_stays_for_one_look_alone",
        ),
        JAX_PROGRAM,
    ),
    (
        "onjax/chunks.py",
        jax(
            "every_method_runs_as_on_numpy[gd]",
            "every_method_runs_as_on_numpy[maml]",
            "parameters_within_a_chunk_are_those_of_their_row",
            "time_is_told_by_the_row_and_ends_a_run",
            "pause_step_and_stop_hold_at_their_step",
            "nothing_is_drawn_that_no_step_needs",
        ),
        JAX_CHUNKS,
    ),
    (
        "onjax/precision.py",
        jax(
            "float32_is_honoured",
            "the_users_settings_are_not_touched",
            "float32_is_float32_within_the_users_function_too",
            "a_user_in_float64_gets_float32_where_they_ask_for_it",
            "two_runs_at_once_do_not_cross",
        ),
        JAX_PRECISION,
    ),
    (
        "algorithms/cells.py",
        jax("every_method_runs_as_on_numpy[l2l]", "a_learned_optimizer_of_another_form"),
        L2L_FORWARD,
    ),
]
