// Users write one import: the vocabulary of trees, specs, targets, plans, reports and errors is GraftCore's.
@_exported public import GraftCore
