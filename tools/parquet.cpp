// ponder-parquet FILE: the rows of a Parquet file as JSON lines on stdout, through Arrow's own
// library. Structs become objects, lists and maps arrays (a map's of [key, value]), dates and times
// ISO 8601 texts, bytes and decimals texts, numbers that JSON has no word for null. Exit status 1
// with one line on stderr where the file cannot be read.
#include <cmath>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>

#include <arrow/api.h>
#include <arrow/compute/api.h>
#include <arrow/io/file.h>
#include <parquet/arrow/reader.h>

namespace {

using arrow::Array;
using arrow::Type;

void put_text(std::string& out, std::string_view text) {
  static const char* const kHex = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  out += '"';
}

void put_double(std::string& out, double value, int digits) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  char buffer[40];
  std::snprintf(buffer, sizeof buffer, "%.*g", digits, value);
  out += buffer;
}

void put(std::string& out, const Array& array, int64_t row);

void put_items(std::string& out, const Array& values, int64_t begin, int64_t end) {
  out += '[';
  for (int64_t i = begin; i < end; ++i) {
    if (i > begin) out += ',';
    put(out, values, i);
  }
  out += ']';
}

template <typename ListArray>
void put_list(std::string& out, const Array& array, int64_t row) {
  const auto& list = static_cast<const ListArray&>(array);
  put_items(out, *list.values(), list.value_offset(row),
            list.value_offset(row) + list.value_length(row));
}

void put_map(std::string& out, const arrow::MapArray& map, int64_t row) {
  out += '[';
  for (int64_t i = map.value_offset(row); i < map.value_offset(row + 1); ++i) {
    if (i > map.value_offset(row)) out += ',';
    out += '[';
    put(out, *map.keys(), i);
    out += ',';
    put(out, *map.items(), i);
    out += ']';
  }
  out += ']';
}

void put_struct(std::string& out, const arrow::StructArray& array, int64_t row) {
  out += '{';
  for (int i = 0; i < array.num_fields(); ++i) {
    if (i > 0) out += ',';
    put_text(out, array.struct_type()->field(i)->name());
    out += ':';
    put(out, *array.field(i), row);
  }
  out += '}';
}

// Whatever has no form of its own in JSON, as the text that Arrow prints.
void put_scalar_text(std::string& out, const Array& array, int64_t row) {
  const auto scalar = array.GetScalar(row);
  put_text(out, scalar.ok() ? (*scalar)->ToString() : std::string());
}

void put(std::string& out, const Array& array, int64_t row) {
  if (array.IsNull(row)) {
    out += "null";
    return;
  }
  switch (array.type_id()) {
    case Type::BOOL:
      out += static_cast<const arrow::BooleanArray&>(array).Value(row) ? "true" : "false";
      return;
    case Type::FLOAT:
      return put_double(out, static_cast<const arrow::FloatArray&>(array).Value(row), 9);
    case Type::DOUBLE:
      return put_double(out, static_cast<const arrow::DoubleArray&>(array).Value(row), 17);
    case Type::INT8:
    case Type::INT16:
    case Type::INT32:
    case Type::INT64:
    case Type::UINT8:
    case Type::UINT16:
    case Type::UINT32:
    case Type::UINT64: {
      const auto scalar = array.GetScalar(row);
      out += scalar.ok() ? (*scalar)->ToString() : "null";
      return;
    }
    case Type::STRING:
      return put_text(out, static_cast<const arrow::StringArray&>(array).GetView(row));
    case Type::LARGE_STRING:
      return put_text(out, static_cast<const arrow::LargeStringArray&>(array).GetView(row));
    case Type::BINARY:
      return put_text(out, static_cast<const arrow::BinaryArray&>(array).GetView(row));
    case Type::LARGE_BINARY:
      return put_text(out, static_cast<const arrow::LargeBinaryArray&>(array).GetView(row));
    case Type::LIST:
      return put_list<arrow::ListArray>(out, array, row);
    case Type::LARGE_LIST:
      return put_list<arrow::LargeListArray>(out, array, row);
    case Type::FIXED_SIZE_LIST:
      return put_list<arrow::FixedSizeListArray>(out, array, row);
    case Type::MAP:
      return put_map(out, static_cast<const arrow::MapArray&>(array), row);
    case Type::STRUCT:
      return put_struct(out, static_cast<const arrow::StructArray&>(array), row);
    case Type::DICTIONARY: {
      const auto& dictionary = static_cast<const arrow::DictionaryArray&>(array);
      return put(out, *dictionary.dictionary(), dictionary.GetValueIndex(row));
    }
    default:
      put_scalar_text(out, array, row);
  }
}

arrow::Status print_rows(const std::string& path) {
  ARROW_ASSIGN_OR_RAISE(const auto file, arrow::io::ReadableFile::Open(path));
  ARROW_ASSIGN_OR_RAISE(const auto reader,
                        parquet::arrow::OpenFile(file, arrow::default_memory_pool()));
  ARROW_ASSIGN_OR_RAISE(const auto batches, reader->GetRecordBatchReader());
  std::string line;
  for (;;) {
    std::shared_ptr<arrow::RecordBatch> batch;
    ARROW_RETURN_NOT_OK(batches->ReadNext(&batch));
    if (batch == nullptr) return arrow::Status::OK();
    ARROW_ASSIGN_OR_RAISE(const auto rows, batch->ToStructArray());
    for (int64_t row = 0; row < rows->length(); ++row) {
      line.clear();
      put(line, *rows, row);
      line += '\n';
      if (std::fwrite(line.data(), 1, line.size(), stdout) != line.size())
        return arrow::Status::IOError("cannot write the rows");
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: ponder-parquet FILE\n";
    return 2;
  }
  const arrow::Status status = print_rows(argv[1]);
  if (status.ok() && std::fflush(stdout) == 0) return 0;
  std::cerr << status.message() << '\n';
  return 1;
}
