/* Written by UAIR. */
#ifndef MODEL_H
#define MODEL_H

#include "uair_io.h"

struct csinn_session;

/* The compiled graph. `params` is the content of model.params; it stays in memory, aligned to 64 bytes. */
struct csinn_session *model_create(char *params);

#define MODEL_INPUTS 1
static const struct uair_port model_inputs[] = {
    {"x", UAIR_FLOAT32, 4, {1, 3, 8, 8}},
};

#define MODEL_OUTPUTS 1
static const struct uair_port model_outputs[] = {
    {"scores", UAIR_FLOAT32, 2, {1, 5}},
};

#endif
