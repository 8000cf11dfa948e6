"""Problems: loss, gradient and Hessian·vector of tasks at given parameters.

Read `base` first: the `Problem` protocol is all that other packages may ask. `factory` builds a problem from a model, a
loss and data. `closed_form` has built-in models in NumPy, `autograd` traces the user's functions, `jax` compiles them;
`capture` copies the user's functions with the data that they read, and `gradient_check` compares a user's gradient with
the true one.
"""
