// Runs a parsed template. One object a rendering; all that a template makes lives in it. Depth,
// work and memory are bounded: a hostile template fails with a Problem.
#pragma once

#include <ctime>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "policy/jinja/ast.h"

namespace ponder::policy::jinja {

constexpr size_t kWorkMax = 256 << 20;  // units of a rendering's budget
constexpr int kRunDepthMax = 800;       // statements and expressions in one another, through macros

// Names of one block: a template, a loop's turn, a macro's call.
struct Scope {
  Scope* parent = nullptr;
  std::vector<std::pair<std::string, Value>> names = {};

  void set(const std::string& name, Value value);
  const Value* find(const std::string& name) const;  // here and around; null: not there
};

class Interpreter {
 public:
  // `globals`: what the template sees by name; `now`: for strftime_now.
  Interpreter(const Dict& globals, std::time_t now);
  ~Interpreter();

  // Throws Problem; line() is then where.
  std::string run(const Body& body);
  int line() const { return line_; }
  // Of the text of run(): bytes [begin, end) of each {% generation %}.
  const std::vector<std::pair<size_t, size_t>>& generated() const { return generated_; }

  // For filters, tests and functions.
  Budget& budget() { return budget_; }
  std::time_t now() const { return now_; }
  Namespace* new_namespace();
  Value filter(const std::string& name, const Value& input, Arguments& arguments);
  bool test(const std::string& name, const Value& input, Arguments& arguments);
  Value attribute(const Value& object, const std::string& name);  // object.name
  Value item(const Value& object, const Value& key);              // object[key]
  Value call(const Value& callee, Arguments& arguments);

 private:
  enum class Flow { kOn, kBreak, kContinue };
  struct Loop;

  // One level of recursion, bounded and paid for.
  class Depth {
   public:
    explicit Depth(Interpreter& run) : run_(run) {
      if (run_.depth_ >= kRunDepthMax) throw Problem("the template calls itself too deeply");
      run_.budget_.spend(8);
      ++run_.depth_;
    }
    ~Depth() { --run_.depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    Interpreter& run_;
  };

  Flow run(const Body& body, Scope& scope);
  Flow run(const Stmt& stmt, Scope& scope);
  Flow run_if(const Stmt& stmt, Scope& scope);
  Flow run_for(const Stmt& stmt, Scope& scope);
  Flow run_loop(const Stmt& stmt, Scope& scope, const Value& iterable, int depth);
  void run_set_block(const Stmt& stmt, Scope& scope);
  void run_call_block(const Stmt& stmt, Scope& scope);
  void run_with(const Stmt& stmt, Scope& scope);
  void run_generation(const Stmt& stmt, Scope& scope);
  std::string captured(const Body& body, Scope& scope);
  void assign(const Expr& target, Value value, Scope& scope);
  void unpack(const Expr& target, const Value& value, Scope& scope);
  Value macro(const Stmt& stmt, Scope& scope, const std::string& name);
  Value call_macro(const Stmt& stmt, Scope& scope, const std::string& name,
                   const Arguments& arguments);
  void bind_extra(const Stmt& stmt, const std::string& name, const Arguments& arguments,
                  Scope& inner);
  static Value loop_value(Loop* loop);
  Scope& new_scope(Scope* parent);

  Value eval(const Expr& expr, Scope& scope);
  Value eval_name(const Expr& expr, Scope& scope) const;
  Value eval_dict(const Expr& expr, Scope& scope);
  Value eval_choice(const Expr& expr, Scope& scope);
  Value eval_compare(const Expr& expr, Scope& scope);
  Value eval_concat(const Expr& expr, Scope& scope);
  Value eval_slice(const Expr& expr, Scope& scope);
  Value eval_call(const Expr& expr, Scope& scope);
  std::vector<Value> eval_all(const std::vector<ExprPtr>& exprs, Scope& scope);
  Arguments arguments_of(const Expr& expr, Scope& scope);

  Budget budget_{kWorkMax};
  std::time_t now_;
  std::deque<Scope> scopes_;
  std::deque<Namespace> namespaces_;
  std::vector<std::unique_ptr<Loop>> loops_;
  std::string* out_ = nullptr;
  Value captured_;  // input of the filters of a block
  std::vector<std::pair<size_t, size_t>> generated_;
  std::string text_;
  int line_ = 1;
  int depth_ = 0;
};

}  // namespace ponder::policy::jinja
