#include "graft_kernels.h"
