/// What a pass has found out about whole tensors.
package enum FigureValue: Sendable {
  /// A tensor that was kept.
  case tensor(Tensor)
  /// The sums of the products of the first operand with itself, the first with the second, and the second with itself.
  case products(Double, Double, Double)
}

extension Plan {
  /// The figures that each result needs, as indices of the pass's results.
  package var figuresOfResults: [Set<Int>] {
    var figures = [Set<Int>](repeating: [], count: results.count)
    if pass.isEmpty { return figures }
    let figuresOfPrograms = programs.map(\.figures)
    for part in parts {
      if let program = part.program { figures[part.result].formUnion(figuresOfPrograms[program]) }
      for operand in part.operands {
        guard case .product(let product) = operands[operand].source else { continue }
        figures[part.result].formUnion(product.figures)
      }
    }
    return figures
  }

  /// Whether a result of this plan, as a pass, is sums of products rather than a tensor.
  package var isSummed: [Bool] {
    var isSummed = [Bool](repeating: false, count: results.count)
    for part in parts where part.isSummed { isSummed[part.result] = true }
    return isSummed
  }

  /// The plan with the figures that its results need, and no pass any more.
  package func resolving(_ figures: [Int: FigureValue]) -> Plan {
    var plan = self
    plan.pass = []
    for index in plan.programs.indices { plan.programs[index].resolve(figures) }
    for index in plan.operands.indices {
      guard case .product(var product) = plan.operands[index].source else { continue }
      product.resolve(figures)
      plan.operands[index].source = .product(product)
    }
    for index in plan.literals.indices {
      guard case .product(var product, let spec) = plan.literals[index].source else { continue }
      product.resolve(figures)
      plan.literals[index].source = .product(product, spec)
    }
    return plan
  }
}

extension TileProgram {
  fileprivate var figures: [Int] {
    steps.compactMap { step in
      if case .slerp(let interpolation) = step.operation { interpolation.figure } else { nil }
    }
  }

  /// Puts the weights of the operands into every interpolation whose figure is known.
  fileprivate mutating func resolve(_ figures: [Int: FigureValue]) {
    for index in steps.indices {
      guard case .slerp(let interpolation) = steps[index].operation, let figure = interpolation.figure,
        case .products(let first, let product, let second)? = figures[figure]
      else { continue }
      let weights = interpolation.weights(first, product, second)
      steps[index].operation = .weightedSum([weights.0, weights.1])
    }
  }
}

extension LowRankProduct {
  fileprivate var figures: [Int] {
    [left, right].compactMap { if case .figure(let index) = $0 { index } else { nil } }
  }

  fileprivate mutating func resolve(_ figures: [Int: FigureValue]) {
    func loaded(_ factor: Factor) -> Factor {
      guard case .figure(let index) = factor, case .tensor(let tensor)? = figures[index] else {
        return factor
      }
      return .loaded(HostOperand(tensor))
    }
    left = loaded(left)
    right = loaded(right)
  }
}
