// A plugin whose library is not where the loader looks.
int of_the_absent_library();
int use() {
  return of_the_absent_library();
}
