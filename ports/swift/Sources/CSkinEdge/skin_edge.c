/* SPDX-License-Identifier: Apache-2.0 */
#define SKIN_EDGE_IMPLEMENTATION
#include "skin_edge.h"
