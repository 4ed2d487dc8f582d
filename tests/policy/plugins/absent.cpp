int of_the_absent_library() {
  return 1;
}
