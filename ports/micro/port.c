/* SPDX-License-Identifier: Apache-2.0
 *
 * port.c: the port itself, with room for this model and no more. */
#include "config.h"
#define SKIN_EDGE_IMPLEMENTATION
#include "skin_edge.h"
