/* The operations of a multilayer perceptron in C99. REAL is float or double; matrices are row-major,
 * x is (n, in), W is (in, out), z is (n, classes), y holds labels. */
#ifndef REAL
#define REAL double
#endif
#include <math.h>
#include <string.h>
typedef REAL real;

enum { MOST_LAYERS = 8, MOST_UNITS = 64, MOST_ROWS = 8 };

/* z = x W + b */
static void linear(int n, int in, int out, const real *x, const real *W, const real *b, real *z) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < out; j++) {
            real sum = 0;
            for (int k = 0; k < in; k++) sum += x[i * in + k] * W[k * out + j];
            z[i * out + j] = sum + b[j];
        }
}

/* a = z where z > 0, else 0; NaN stays NaN */
static void relu(int count, const real *z, real *a) {
    for (int i = 0; i < count; i++) a[i] = z[i] * (z[i] > 0);
}

/* dx = d Wt, dW = xt d, db = the sum of the rows of d */
static void linear_backward(int n, int in, int out, const real *x, const real *W, const real *d,
                            real *dx, real *dW, real *db) {
    for (int i = 0; i < n; i++)
        for (int k = 0; k < in; k++) {
            real sum = 0;
            for (int j = 0; j < out; j++) sum += d[i * out + j] * W[k * out + j];
            dx[i * in + k] = sum;
        }
    for (int j = 0; j < out; j++) {
        for (int k = 0; k < in; k++) {
            real sum = 0;
            for (int i = 0; i < n; i++) sum += x[i * in + k] * d[i * out + j];
            dW[k * out + j] = sum;
        }
        db[j] = 0;
        for (int i = 0; i < n; i++) db[j] += d[i * out + j];
    }
}

/* d where z > 0, else 0: the derivative of max(z, 0) at 0 is 0 */
static void relu_backward(int count, const real *d, const real *z, real *dz) {
    for (int i = 0; i < count; i++) dz[i] = z[i] > 0 ? d[i] : 0;
}

/* log p = z - max z - log(sum of exp(z - max z)), row by row */
static void log_softmax(int n, int classes, const real *z, real *log_p) {
    for (int i = 0; i < n; i++) {
        const real *row = z + i * classes;
        real top = row[0], sum = 0;
        for (int j = 1; j < classes; j++) top = row[j] > top ? row[j] : top;
        for (int j = 0; j < classes; j++) sum += (real)exp(row[j] - top);
        for (int j = 0; j < classes; j++) log_p[i * classes + j] = row[j] - top - (real)log(sum);
    }
}

/* -(1/n) times the sum of log p[i, y[i]] */
static real cross_entropy(int n, int classes, const real *z, const int *y, real *log_p) {
    real sum = 0;
    log_softmax(n, classes, z, log_p);
    for (int i = 0; i < n; i++) sum += log_p[i * classes + y[i]];
    return -sum / n;
}

/* (p - t) / n, with t one-hot */
static void cross_entropy_backward(int n, int classes, const real *z, const int *y, real *dz) {
    log_softmax(n, classes, z, dz);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < classes; j++)
            dz[i * classes + j] = ((real)exp(dz[i * classes + j]) - (j == y[i])) / n;
}

/* v = momentum v + (1 - momentum) g, then p = p - rate v */
static void momentum_step(int count, real *p, real *v, const real *g, real rate, real momentum) {
    for (int i = 0; i < count; i++) {
        v[i] = momentum * v[i] + (1 - momentum) * g[i];
        p[i] -= rate * v[i];
    }
}

/* A network of `depth` layers; sizes[0] inputs, sizes[k] units in layer k. */
typedef struct {
    int depth, sizes[MOST_LAYERS + 1];
    real W[MOST_LAYERS][MOST_UNITS], b[MOST_LAYERS][MOST_UNITS];
} network;

/* a[0] = x, z[k] = a[k] W[k] + b[k], a[k + 1] = relu(z[k]); the last z are the logits */
static void forward(const network *net, int n, const real *x, real a[][MOST_UNITS],
                    real z[][MOST_UNITS]) {
    memcpy(a[0], x, sizeof(real) * n * net->sizes[0]);
    for (int k = 0; k < net->depth; k++) {
        int in = net->sizes[k], out = net->sizes[k + 1];
        linear(n, in, out, a[k], net->W[k], net->b[k], z[k]);
        if (k + 1 < net->depth) relu(n * out, z[k], a[k + 1]);
    }
}

/* The loss and its gradient, which has the form of the network. */
static real backward(const network *net, int n, const real *x, const int *y, real l2,
                     network *grad) {
    static real a[MOST_LAYERS][MOST_UNITS], z[MOST_LAYERS][MOST_UNITS];
    real delta[MOST_UNITS], dx[MOST_UNITS], log_p[MOST_UNITS], squares = 0;
    int last = net->depth - 1, classes = net->sizes[net->depth];
    forward(net, n, x, a, z);
    *grad = *net;
    cross_entropy_backward(n, classes, z[last], y, delta);
    for (int k = last; k >= 0; k--) {
        int in = net->sizes[k], out = net->sizes[k + 1];
        linear_backward(n, in, out, a[k], net->W[k], delta, dx, grad->W[k], grad->b[k]);
        for (int i = 0; i < in * out; i++) {
            grad->W[k][i] += l2 * net->W[k][i];
            squares += net->W[k][i] * net->W[k][i];
        }
        if (k > 0) relu_backward(n * in, dx, z[k - 1], delta);
    }
    return cross_entropy(n, classes, z[last], y, log_p) + l2 / 2 * squares;
}

/* Epochs over the batches in their order, from velocity 0. */
static void train(network *net, network *velocity, int n, const real *x, const int *y, real rate,
                  real momentum, real l2, int batch, int epochs, real *losses) {
    network grad;
    *velocity = *net;
    memset(velocity->W, 0, sizeof velocity->W);
    memset(velocity->b, 0, sizeof velocity->b);
    for (int epoch = 0; epoch < epochs; epoch++) {
        real total = 0;
        for (int start = 0; start < n; start += batch) {
            int rows = n - start < batch ? n - start : batch;
            total += rows * backward(net, rows, x + start * net->sizes[0], y + start, l2, &grad);
            for (int k = 0; k < net->depth; k++) {
                int out = net->sizes[k + 1], count = net->sizes[k] * out;
                momentum_step(count, net->W[k], velocity->W[k], grad.W[k], rate, momentum);
                momentum_step(out, net->b[k], velocity->b[k], grad.b[k], rate, momentum);
            }
        }
        losses[epoch] = total / n;
    }
}
