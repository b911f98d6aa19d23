# SPDX-License-Identifier: GPL-2.0
# bash completion for interceptorctl(8)

_interceptorctl() {
    local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} choices

    if ((COMP_CWORD == 1)); then
        choices="intercept release start stop status watch record names --help --version"
    elif [[ $word == -* ]]; then
        choices=--help
        [[ $command == status ]] && choices+=" --json"
    else
        case $command:$COMP_CWORD in
        start:2 | stop:2 | intercept:* | release:* | watch:* | record:*)
            choices=$(interceptorctl names 2>/dev/null)
            ;;
        start:* | stop:*)
            choices="all $(cd /proc && echo [0-9]*)"
            ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$word")
}

complete -F _interceptorctl interceptorctl
