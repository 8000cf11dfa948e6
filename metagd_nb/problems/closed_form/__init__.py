"""Built-in models with derivatives in closed form.

Read `layer_chain` first: it is the reference for every net. `net.NetProblem` uses the faster form in `accelerated`
where it is switched on. `quadratic` and `least_squares` need no net.
"""
