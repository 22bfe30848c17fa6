#ifndef GRAFT_RING_H
#define GRAFT_RING_H
#endif
