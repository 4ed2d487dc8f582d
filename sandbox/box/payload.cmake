# Writes a source file that carries three files as bytes: ponder_payload_NAME .. ponder_payload_NAME_end.
set(text "// Written by the build.\n")
foreach(name BOX ZYGOTE DRIVER)
  string(TOLOWER "${name}" symbol)
  string(APPEND text "asm(R\"(\n    .section .rodata\n    .balign 16\n"
    "    .globl ponder_payload_${symbol}, ponder_payload_${symbol}_end\n"
    "ponder_payload_${symbol}:\n    .incbin \"${${name}}\"\nponder_payload_${symbol}_end:\n    .byte 0\n    .previous\n)\");\n")
endforeach()
file(WRITE "${OUTPUT}" "${text}")
