"""The languages that are counted: what a file's name says, and the colour of each on a chart.

Programming and markup languages; data and prose are not counted. Where one ending serves several
languages, it stands with the commonest. Names and colours are the customary ones, so that charts
look as people know them.
"""

from __future__ import annotations

_TABLE = """
Ada              #02f88c adb ads
Apex             #1797c0 cls
Assembly         #6E4C13 asm s nasm
Astro            #ff5a03 astro
Awk              #c30e9b awk
Batchfile        #C1F12E bat cmd
C                #555555 c h
C#               #178600 cs csx
C++              #f34b7d cpp cc cxx c++ hpp hh hxx h++ ipp tpp ixx cppm
CMake            #DA3434 cmake =CMakeLists.txt
COBOL            #005ca5 cob cbl cpy
CSS              #663399 css
Clojure          #db5855 clj cljs cljc
CoffeeScript     #244776 coffee cson
Common_Lisp      #3fb68b lisp lsp asd
Crystal          #000100 cr
Cuda             #3A4E3A cu cuh
Cython           #fedf5b pyx pxd pxi
D                #ba595e d di
Dart             #00B4AB dart
Dockerfile       #384d54 dockerfile =Dockerfile =Containerfile
EJS              #a91e50 ejs
Elixir           #6e4a7e ex exs
Elm              #60B5CC elm
Emacs_Lisp       #c065db el =.emacs
Erlang           #B83998 erl hrl =rebar.config
F#               #b845fc fs fsi fsx
Fortran          #4d41b1 f90 f95 f03 f08 f for
GDScript         #355570 gd
GLSL             #5686a5 glsl vert frag geom comp
Gleam            #ffaff3 gleam
Go               #00ADD8 go
Go_Template      #00ADD8 gotmpl gohtml
GraphQL          #e10098 graphql gql
Groovy           #4298b8 groovy gradle gvy =Jenkinsfile
HCL              #844FBA hcl tf tfvars
HLSL             #aace60 hlsl fx
HTML             #e34c26 html htm xhtml
Handlebars       #f7931e hbs handlebars
Haskell          #5e5086 hs lhs
Haxe             #df7900 hx
Java             #b07219 java
JavaScript       #f1e05a js mjs cjs jsx =Jakefile
Jinja            #a52a22 j2 jinja jinja2
Julia            #a270ba jl
Jupyter_Notebook #DA5B0B ipynb
Just             #384d54 just =justfile =Justfile
Kotlin           #A97BFF kt kts
Less             #1d365d less
Liquid           #67b8de liquid
Lua              #000080 lua
MATLAB           #e16737 mlx
MDX              #fcb32c mdx
Makefile         #427819 mk mak =Makefile =makefile =GNUmakefile
Meson            #007800 =meson.build
Mojo             #ff4c1f mojo
Mustache         #724b3b mustache
Nim              #ffc200 nim nims
Nix              #7e7eff nix
OCaml            #ef7a08 ml mli mll mly
Objective-C      #438eff m
Objective-C++    #6866fb mm
Odin             #60AFFE odin
PHP              #4F5D95 php phtml php5
PLpgSQL          #336790 pgsql
Pascal           #E3F171 pas dpr lpr
Perl             #0298c3 pl pm perl =cpanfile
PowerShell       #012456 ps1 psm1 psd1
Prolog           #74283c pro prolog
Protocol_Buffer  #0060ac proto
Pug              #a86454 pug jade
PureScript       #1D222D purs
Python           #3572A5 py pyw pyi =SConstruct =SConscript =wscript
QML              #44a51c qml
R                #198CE7 r
Racket           #3c5caa rkt
Raku             #0000fb raku rakumod
ReScript         #ed5051 res resi
Roff             #ecdebe roff
Ruby             #701516 rb erb rake gemspec ru =Gemfile =Rakefile =Vagrantfile
Rust             #dea584 rs
SCSS             #c6538c scss
SQL              #e38c00 sql
Sass             #a53b70 sass
Scala            #c22d40 scala sc sbt
Scheme           #1e4aec scm ss sld
Shell            #89e051 sh bash zsh ksh bats =.bashrc =.profile =.zshrc =PKGBUILD
Smalltalk        #596706 st
Solidity         #AA6746 sol
Starlark         #76d275 bzl star =BUILD =BUILD.bazel =WORKSPACE
Stylus           #ff6347 styl
Svelte           #ff3e00 svelte
Swift            #F05138 swift
SystemVerilog    #DAE1C2 sv svh
Tcl              #e4cc98 tcl tk
TeX              #3D6117 tex sty ltx
Thrift           #D12127 thrift
Twig             #c1d026 twig
TypeScript       #3178c6 ts tsx mts cts
Typst            #239dad typ
V                #4f87c4 vsh
VHDL             #adb2cb vhd vhdl
Vala             #a56de2 vala vapi
Verilog          #b2b7f8 v vh
Vim_Script       #199f4b vim =.vimrc
Visual_Basic_.NET #945db7 vb
Vue              #41b883 vue
WGSL             #1a5e9a wgsl
WebAssembly      #04133b wat wast
XSLT             #EB8CEB xsl xslt
Zig              #ec915c zig
fish             #4aae47 fish
"""
"""Name (``_`` for a space), colour, endings in lower case, and whole names behind ``=``."""


def _read(table: str) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Colours, languages by ending, languages by whole name."""
    colors, by_ending, by_name = {}, {}, {}
    for line in table.strip().splitlines():
        name, color, *rules = line.split()
        name = name.replace("_", " ")
        colors[name] = color
        for rule in rules:
            if rule.startswith("="):
                by_name[rule[1:]] = name
            else:
                by_ending[rule] = name
    return colors, by_ending, by_name


COLORS, _BY_ENDING, _BY_NAME = _read(_TABLE)


def language_of(name: str) -> str | None:
    """The language of a file with that name (without its folders); None: not counted."""
    found = _BY_NAME.get(name)
    if found is None:
        stem, dot, ending = name.rpartition(".")
        found = _BY_ENDING.get(ending.lower()) if stem and dot else None
    return found
