#include "graft_ring.h"
