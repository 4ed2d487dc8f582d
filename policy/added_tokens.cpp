#include "policy/added_tokens.h"

#include <algorithm>

namespace ponder::policy {
namespace {

// Where `regex` matches in `text`, else an empty match at `fallback`.
Match first_match(const UnicodeRegex& regex, std::string_view text, size_t fallback) {
  std::vector<Match> matches;
  regex.find_all(text, matches);
  return matches.empty() ? Match{fallback, fallback} : matches.front();
}

// As `tokenizers` does, tokens outside the vocabulary are numbered in the file's order from the
// vocabulary's size on, whatever ids the file gives: where those leave a gap the model was trained
// with the ids without it.
void renumber(std::vector<AddedToken>& tokens, const TextMap& vocabulary) {
  int32_t next = static_cast<int32_t>(vocabulary.size());
  for (AddedToken& token : tokens) {
    if (!vocabulary.contains(token.content)) token.id = next;
    next = std::max(next, token.id + 1);
  }
}

}  // namespace

TokenFinder::TokenFinder(const std::vector<AddedToken>& tokens,
                         const std::vector<std::string>& contents)
    : tokens_(tokens),
      nodes_(1),
      word_start_(fmt::format("\\A[{}]", kRustWord), "added_tokens"),
      word_end_(fmt::format("[{}]\\z", kRustWord), "added_tokens"),
      space_start_(R"(\A\s+)", "added_tokens"),
      space_end_(R"(\s+\z)", "added_tokens") {
  for (size_t i = 0; i < contents.size(); ++i) {
    if (!contents[i].empty()) insert(contents[i], static_cast<int32_t>(i));
  }
}

int32_t TokenFinder::child(int32_t node, unsigned char byte) const {
  const auto& children = nodes_[node].children;
  const auto found = std::lower_bound(children.begin(), children.end(),
                                      std::pair<unsigned char, int32_t>(byte, 0));
  return found != children.end() && found->first == byte ? found->second : -1;
}

void TokenFinder::insert(std::string_view content, int32_t token) {
  starts_[static_cast<unsigned char>(content[0])] = true;
  int32_t node = 0;
  for (const char c : content) {
    const auto byte = static_cast<unsigned char>(c);
    int32_t below = child(node, byte);
    if (below < 0) {
      below = static_cast<int32_t>(nodes_.size());
      auto& children = nodes_[node].children;
      children.insert(std::lower_bound(children.begin(), children.end(),
                                       std::pair<unsigned char, int32_t>(byte, 0)),
                      {byte, below});
      nodes_.emplace_back();
    }
    node = below;
  }
  if (nodes_[node].token < 0) nodes_[node].token = token;
}

void TokenFinder::split(std::string_view text, std::vector<Segment>& segments) const {
  size_t done = 0;  // bytes already in segments
  size_t at = 0;
  while (at < text.size()) {
    if (!starts_[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    int32_t token = -1;
    size_t end = at;
    size_t position = at;
    for (int32_t node = 0; position < text.size();) {
      node = child(node, static_cast<unsigned char>(text[position]));
      if (node < 0) break;
      ++position;
      if (nodes_[node].token >= 0) {
        token = nodes_[node].token;
        end = position;
      }
    }
    if (token < 0) {
      ++at;
      continue;
    }
    const AddedToken& found = tokens_[token];
    size_t begin = at;
    at = end;
    if (found.single_word && (first_match(word_end_, text.substr(0, begin), 0).end > 0 ||
                              first_match(word_start_, text.substr(end), 0).end > 0)) {
      continue;
    }
    if (found.lstrip)
      begin = std::max(first_match(space_end_, text.substr(0, begin), begin).begin, done);
    if (found.rstrip) end += first_match(space_start_, text.substr(end), 0).end;
    if (done < begin) segments.push_back({text.substr(done, begin - done), -1});
    segments.push_back({text.substr(begin, end - std::min(begin, end)), found.id});
    done = end;
  }
  if (done < text.size()) segments.push_back({text.substr(done), -1});
}

std::vector<AddedToken> read_added_tokens(const JsonPlace& list, const TextMap& vocabulary) {
  std::vector<AddedToken> tokens;
  if (list.is_null()) return tokens;
  std::unordered_map<int32_t, std::string> holder;
  std::unordered_map<std::string, int32_t> seen;
  size_t limit = 65536 + list.value().size();
  for (const auto& [token, id] : vocabulary)
    limit = std::max(limit, static_cast<size_t>(id) + 65536);
  for (const JsonPlace& entry : list.items()) {
    AddedToken token;
    token.content = entry.field("content").text();
    token.id = entry.field("id").id();
    token.special = entry.field("special").boolean_or(false);
    token.normalized = entry.field("normalized").boolean_or(!token.special);
    token.lstrip = entry.field("lstrip").boolean_or(false);
    token.rstrip = entry.field("rstrip").boolean_or(false);
    token.single_word = entry.field("single_word").boolean_or(false);
    if (token.content.empty()) continue;  // as `tokenizers`: never found
    if (static_cast<size_t>(token.id) >= limit)
      entry.field("id").fail(fmt::format("an id below {}", limit));
    const auto [first, fresh_id] = holder.emplace(token.id, token.content);
    if (!fresh_id && first->second != token.content) {
      core::throw_user("{}: the added tokens '{}' and '{}' have the same id {}", entry.place(),
                       first->second, token.content, token.id);
    }
    const auto [earlier, fresh] = seen.emplace(token.content, token.id);
    if (!fresh && earlier->second != token.id) {
      core::throw_user("{}: the added token '{}' has the ids {} and {}", entry.place(),
                       token.content, earlier->second, token.id);
    }
    const auto known = vocabulary.find(token.content);
    if (known != vocabulary.end() && known->second != token.id) {
      core::throw_user("{}: the added token '{}' has the id {}, but {} in the vocabulary",
                       entry.place(), token.content, token.id, known->second);
    }
    if (fresh) tokens.push_back(std::move(token));
  }
  renumber(tokens, vocabulary);
  return tokens;
}

}  // namespace ponder::policy
