#ifndef GRAFT_KERNELS_H
#define GRAFT_KERNELS_H
#endif
