# bash completion for eic-keys(8)

_eic_keys() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} options='' IFS=$'\n'
    case $'\n'${COMP_WORDS[*]:1:COMP_CWORD-1}$'\n' in
    *$'\n--\n'*) # the other command and its arguments
        mapfile -t COMPREPLY < <(compgen -A command -A file -- "$word")
        return
        ;;
    *)
        options=$'--trust-store\n--timeout\n--imds'
        [ "$COMP_CWORD" != 1 ] || options+=$'\n--help\n-h\n--version\n-V'
        ;;
    esac
    case $before in
    --trust-store) mapfile -t COMPREPLY < <(compgen -A file -- "$word") ;;
    --timeout | --imds) COMPREPLY=() ;;
    *)
        case $word in
        -*) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word") ;;
        *) mapfile -t COMPREPLY < <(compgen -A user -- "$word") ;;
        esac
        ;;
    esac
}
complete -F _eic_keys eic-keys
