// Stands in for the header of this name in Gloo, which the LibTorch wheel does not carry: what
// ProcessGroupGloo.hpp must see to compile. Only names behind pointers, so that no layout depends
// on it.
#pragma once
