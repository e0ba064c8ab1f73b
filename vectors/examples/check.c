/* Check a program in C by the vectors. It needs C99 and cJSON (libcjson-dev in Debian).
 *
 *     cc -std=c99 -O1 -DREAL=float vectors/examples/check.c -o check -lcjson -lm
 *     ./check vectors
 *
 * REAL is float or double, and decides by which bound results are judged. To check a program of
 * your own, put its functions in the place of network.h. */
#include <cjson/cJSON.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef NETWORK
#include NETWORK
#else
#include "network.h"
#endif

static const char *bound, *folder;
static cJSON *header;
static unsigned char *tensors;
static int tried, failed;

static char *read_file(const char *name, long *length) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(2);
    }
    fseek(file, 0, SEEK_END);
    *length = ftell(file);
    rewind(file);
    char *text = malloc(*length + 1);
    if (fread(text, 1, *length, file) != (size_t)*length) exit(2);
    text[*length] = 0;
    fclose(file);
    return text;
}

/* safetensors: eight bytes for the length of the header, the header in JSON, the numbers. This
 * machine must be little-endian. */
static void read_tensors(void) {
    long length;
    char *bytes = read_file("tensors.safetensors", &length);
    uint64_t size;
    memcpy(&size, bytes, 8);
    header = cJSON_ParseWithLength(bytes + 8, size);
    tensors = (unsigned char *)bytes + 8 + size;
}

static int size_of(const cJSON *array) {
    int size = 1;
    const cJSON *axis;
    cJSON_ArrayForEach(axis, cJSON_GetObjectItem(array, "shape")) size *= axis->valueint;
    return size;
}

static int axis_of(const cJSON *array, int axis) {
    return cJSON_GetArrayItem(cJSON_GetObjectItem(array, "shape"), axis)->valueint;
}

/* The numbers of an array: "values" of inputs; "high", "low" and the bounds of outputs. NULL: none.
 * JSON has null in the place of NaN. */
static double *numbers(const cJSON *array, const char *part) {
    int size = size_of(array);
    double *found = malloc(sizeof(double) * (size + 1));
    const cJSON *tensor = cJSON_GetObjectItem(array, "tensor"), *list, *number;
    if (tensor) {
        char name[512];
        snprintf(name, sizeof name, "%s/%s", tensor->valuestring, part);
        const cJSON *entry = cJSON_GetObjectItem(header, name);
        if (!entry) return NULL;
        const cJSON *start = cJSON_GetArrayItem(cJSON_GetObjectItem(entry, "data_offsets"), 0);
        memcpy(found, tensors + (size_t)start->valuedouble, sizeof(double) * size);
        return found;
    }
    if (!(list = cJSON_GetObjectItem(array, part))) return NULL;
    int i = 0;
    cJSON_ArrayForEach(number, list) found[i++] = cJSON_IsNull(number) ? NAN : number->valuedouble;
    return found;
}

static cJSON *inputs, *outputs, *flags, *notes;
static const char *case_name;

static real *input(const char *name) {
    const cJSON *array = cJSON_GetObjectItemCaseSensitive(inputs, name);
    double *values = numbers(array, "values");
    int size = size_of(array);
    real *found = malloc(sizeof(real) * (size + 1));
    for (int i = 0; i < size; i++) found[i] = (real)values[i];
    free(values);
    return found;
}

static int *labels(void) {
    const cJSON *array = cJSON_GetObjectItem(inputs, "y"), *label;
    int *found = malloc(sizeof(int) * (size_of(array) + 1)), i = 0;
    cJSON_ArrayForEach(label, cJSON_GetObjectItem(array, "values")) found[i++] = label->valueint;
    return found;
}

static int dimension(const char *name, int axis) {
    return axis_of(cJSON_GetObjectItemCaseSensitive(inputs, name), axis);
}

static int wrong; /* the case so far */

/* Compare a result with the exact one: |got - high - low| <= bound. */
static void compare(const char *name, const real *got) {
    const cJSON *array = cJSON_GetObjectItemCaseSensitive(outputs, name);
    double *high = numbers(array, "high"), *low = numbers(array, "low");
    double *error = numbers(array, bound);
    int size = size_of(array);
    for (int i = 0; i < size && !wrong; i++) {
        int right = isnan(high[i]) ? isnan(got[i]) : fabs(got[i] - high[i] - low[i]) <= error[i];
        if (!right) {
            wrong = 1;
            printf("%s: %s[%d] is %.9g, exact %.17g, within %.4g\n", case_name, name, i,
                   (double)got[i], high[i], error[i]);
        }
    }
    free(high), free(low), free(error);
}

static network read_network(void) {
    network net = {0};
    char name[8];
    for (int k = 0; k < MOST_LAYERS; k++) {
        snprintf(name, sizeof name, "W%d", k + 1);
        if (!cJSON_GetObjectItemCaseSensitive(inputs, name)) break;
        int in = dimension(name, 0), out = dimension(name, 1);
        net.depth = k + 1, net.sizes[k] = in, net.sizes[k + 1] = out;
        memcpy(net.W[k], input(name), sizeof(real) * in * out);
        snprintf(name, sizeof name, "b%d", k + 1);
        memcpy(net.b[k], input(name), sizeof(real) * out);
    }
    return net;
}

static void compare_network(const network *net, const char *prefix) {
    char name[32];
    for (int k = 0; k < net->depth; k++) {
        snprintf(name, sizeof name, "%sW%d", prefix, k + 1);
        compare(name, net->W[k]);
        snprintf(name, sizeof name, "%sb%d", prefix, k + 1);
        compare(name, net->b[k]);
    }
}

static void run(const char *operation) {
    static real r1[1 << 17], r2[1 << 17], r3[1 << 17];
    if (!strcmp(operation, "linear") || !strcmp(operation, "linear_relu")) {
        int n = dimension("x", 0), in = dimension("x", 1), out = dimension("W", 1);
        linear(n, in, out, input("x"), input("W"), input("b"), r1);
        relu(n * out, r1, r2);
        strcmp(operation, "linear") ? compare("a", r2) : compare("z", r1);
    } else if (!strcmp(operation, "linear_backward")) {
        int n = dimension("x", 0), in = dimension("x", 1), out = dimension("W", 1);
        linear_backward(n, in, out, input("x"), input("W"), input("delta"), r1, r2, r3);
        compare("dx", r1), compare("dW", r2), compare("db", r3);
    } else if (!strcmp(operation, "relu_backward")) {
        relu_backward(dimension("z", 0) * dimension("z", 1), input("delta"), input("z"), r1);
        compare("dz", r1);
    } else if (!strcmp(operation, "log_softmax")) {
        log_softmax(dimension("z", 0), dimension("z", 1), input("z"), r1);
        compare("log_p", r1);
    } else if (!strcmp(operation, "softmax_cross_entropy")) {
        r1[0] = cross_entropy(dimension("z", 0), dimension("z", 1), input("z"), labels(), r2);
        compare("loss", r1);
    } else if (!strcmp(operation, "softmax_cross_entropy_backward")) {
        cross_entropy_backward(dimension("z", 0), dimension("z", 1), input("z"), labels(), r1);
        compare("dz", r1);
    } else if (!strcmp(operation, "momentum_step")) {
        real *p = input("p"), *v = input("v");
        int count = dimension("p", 0) * dimension("p", 1);
        momentum_step(count, p, v, input("g"), *input("learning_rate"), *input("momentum"));
        compare("p", p), compare("v", v);
    } else {
        network net = read_network(), other;
        int n = dimension("x", 0);
        if (!strcmp(operation, "forward")) {
            static real a[MOST_LAYERS][MOST_UNITS], z[MOST_LAYERS][MOST_UNITS];
            forward(&net, n, input("x"), a, z);
            compare("logits", z[net.depth - 1]);
        } else if (!strcmp(operation, "train")) {
            train(&net, &other, n, input("x"), labels(), *input("learning_rate"),
                  *input("momentum"), *input("l2"), (int)*input("batch_size"),
                  (int)*input("epochs"), r1);
            compare("losses", r1), compare_network(&net, ""), compare_network(&other, "velocity.");
        } else {
            r1[0] = backward(&net, n, input("x"), labels(), *input("l2"), &other);
            compare("loss", r1);
            if (!strcmp(operation, "backward")) compare_network(&other, "");
        }
    }
}

int main(int count, char **arguments) {
    static const char *operations[] = {
        "linear", "linear_relu", "linear_backward", "relu_backward", "log_softmax",
        "softmax_cross_entropy", "softmax_cross_entropy_backward", "momentum_step",
        "forward", "loss", "backward", "train"};
    if (count != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", arguments[0]);
        return 2;
    }
    folder = arguments[1];
    bound = sizeof(real) == 4 ? "error.float32" : "error.float64";
    read_tensors();
    for (size_t k = 0; k < sizeof operations / sizeof *operations; k++) {
        char name[64];
        long length;
        snprintf(name, sizeof name, "%s.json", operations[k]);
        cJSON *document = cJSON_Parse(read_file(name, &length)), *one, *flag;
        notes = cJSON_GetObjectItem(document, "notes");
        cJSON_ArrayForEach(one, cJSON_GetObjectItem(document, "cases")) {
            case_name = cJSON_GetObjectItem(one, "name")->valuestring;
            inputs = cJSON_GetObjectItem(one, "inputs");
            outputs = cJSON_GetObjectItem(one, "outputs");
            flags = cJSON_GetObjectItem(one, "flags");
            double *bounds = numbers(outputs->child, bound);
            if (!bounds) continue; /* a format that does not hold the inputs */
            free(bounds);
            wrong = 0;
            run(operations[k]);
            tried++, failed += wrong;
            if (wrong)
                cJSON_ArrayForEach(flag, flags)
                    printf("  %s: %s\n", flag->valuestring,
                           cJSON_GetObjectItemCaseSensitive(notes, flag->valuestring)->valuestring);
        }
        cJSON_Delete(document);
    }
    printf("%d of %d cases are right\n", tried - failed, tried);
    return failed != 0;
}
